"""A browser that is installed here, to be driven by playwright.

python -m benchmarks.speed.second_query [--run runs/quickstart] [--json FILE]

How long somebody waits on the page of `perser demo` for an answer that is not the first, as a browser sees
it: from the moment that a file is chosen until the bars are there.
"""

from __future__ import annotations

import json as json_format
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from perser.cli.main import run_command
from perser.errors import UserError, require
from perser.io.files import write_text_atomic
from perser.labels import Emotions

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Its program; None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


CASES = {
    "meta_perser": ("meta-perser",),
    "speech_lm": ("speech-lm",),
    "both": ("meta-perser", "speech-lm"),
}
"""What is served: the models' folders."""

PAIRS = 8

Labeled = tuple[Path, Emotions]


def speed_second_query(
    run: Path = Path("runs/quickstart"), queries: int = 10, json: Path | None = None
) -> None:
    """How long the page of `perser demo` takes to answer about another clip, after 8 labeled ones.

    Args:
        run: a finished quickstart, or another run of `perser experiment`.
        queries: clips that are asked about after the first.
        json: a file for every figure; none: medians and the longest alone.
    """
    if queries < 1:
        raise UserError(f"queries: {queries}, give at least 1")
    for package, extra in (("gradio", "demo"), ("playwright", "test")):
        require(package, extra, "this measurement")
    program = find_browser()
    if program is None:
        raise UserError(f"no browser here: install one of {', '.join(BROWSERS)}")
    examples, clips = _material(run, queries + 1)
    found = {}
    for case, folders in CASES.items():
        models = [str(run / "models" / one) for one in folders]
        first, *later = _waited(program, models, examples, clips)
        found[case] = {"first": first, "later": later, "median": median(later), "longest": max(later)}
        print(
            f"{case}: {median(later):.3f} s, at most {max(later):.3f} s ({queries} queries after the first)"
        )
    if json is not None:
        write_text_atomic(json, json_format.dumps(found, indent=1) + "\n")


def _material(run: Path, count: int) -> tuple[list[Labeled], list[Path]]:
    """The first episode's first pairs, and so many of its queries."""
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile

    recordings = Corpus.load(run / "corpus").recordings
    episode = EpisodeFile.load(run / "episodes.json").episodes[0]
    support = episode.support.first(PAIRS)
    pairs = zip(support.utterances, support.emotions, strict=True)
    examples = [(recordings.path(one), words) for one, words in pairs]
    return examples, [recordings.path(one) for one in episode.query_utterances[:count]]


def _waited(
    program: str, models: Sequence[str], examples: Sequence[Labeled], clips: Sequence[Path]
) -> list[float]:
    """Seconds for each clip, one after the other."""
    from playwright.sync_api import sync_playwright

    from perser.demo.limits import Limits
    from perser.demo.serving import load_models, serving

    with (
        serving(load_models(models), Limits(), port=0) as address,
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"]) as browser,
    ):
        page = browser.new_page()
        page.goto(address)
        _enroll(page, examples)
        return [_seconds(page, clip, len(models)) for clip in clips]


def _enroll(page: Any, examples: Sequence[Labeled]) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload clips").click()
    chooser.value.set_files([path for path, _ in examples])
    for number, (_, words) in enumerate(examples, start=1):
        row = page.locator("fieldset").filter(has_text=f"What you hear in example {number}")
        for word in words:
            row.get_by_label(word, exact=True).check()


def _seconds(page: Any, clip: Path, models: int) -> float:
    if page.locator(".reply").count():
        page.locator("#clip").get_by_label("Clear").click()
        page.wait_for_function("!document.querySelector('.reply')")
    chooser = page.locator("#clip input[type=file]")
    chooser.wait_for(state="attached")
    started = time.perf_counter()
    chooser.set_input_files(clip)
    page.wait_for_function(f"document.querySelectorAll('.reply table').length == {models}")
    taken = time.perf_counter() - started
    heading = page.locator(".reply thead").first.inner_text()
    if f"{PAIRS} examples" not in heading:
        raise UserError(f"the page answered '{heading}', not after {PAIRS} examples")
    return taken


if __name__ == "__main__":
    run_command(speed_second_query)
