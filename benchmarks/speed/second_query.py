"""python -m benchmarks.speed.second_query [--run runs/quickstart] [--json FILE]

Measure, in a browser, how long the page of `perser demo` takes to answer about a clip that is not the first:
from the moment that a file is chosen until the bars are shown.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.first_answer import Labeled, first_episode_clips
from perser.cli.main import run_command
from perser.errors import UserError, require_package
from perser.io.files import check_outputs
from perser.io.json_files import write_json

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Programs that playwright can drive, in the order in which they are looked for."""

CASES = {
    "meta_perser": ("meta-perser",),
    "speech_lm": ("speech-lm",),
    "both": ("meta-perser", "speech-lm"),
}
"""The folders of the models that the page serves, by case."""

PAIRS = 8


def speed_second_query(
    run: Path = Path("runs/quickstart"), queries: int = 10, json: Path | None = None
) -> None:
    """Measure how long the page of `perser demo` takes to answer about another clip, after 8 labeled ones.

    Args:
        run: a finished quickstart, or another run of `perser experiment`.
        queries: clips to ask about after the first.
        json: a file for every figure; none: print the medians and the longest times only.
    """
    if queries < 1:
        raise UserError(f"queries: {queries}, give at least 1")
    check_outputs(files={"json": json})
    for package, extra in (("gradio", "demo"), ("playwright", "test")):
        require_package(package, extra, "this measurement")
    program = find_browser()
    if program is None:
        raise UserError(f"no browser here: install one of {', '.join(BROWSERS)}")
    examples, clips = first_episode_clips(run, PAIRS, queries + 1)
    figures = {}
    for case, folders in CASES.items():
        models = [str(run / "models" / folder) for folder in folders]
        first, *later = _answer_seconds(program, models, examples, clips)
        middle, longest = median(later), max(later)
        figures[case] = {"first": first, "later": later, "median": middle, "longest": longest}
        print(f"{case}: {middle:.3f} s, at most {longest:.3f} s ({queries} queries after the first)")
    if json is not None:
        write_json(json, figures)


def find_browser() -> str | None:
    """Return the path of an installed browser's program; None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _answer_seconds(
    program: str, models: Sequence[str], examples: Sequence[Labeled], clips: Sequence[Path]
) -> list[float]:
    """Serve the page, enroll the examples in it, and return the seconds of the answer about each clip."""
    from playwright.sync_api import sync_playwright

    from perser.demo.serving import serving
    from perser.web.limits import Limits
    from perser.web.models import load_models

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
    """Upload the examples and tick their emotions."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload clips").click()
    chooser.value.set_files([path for path, _ in examples])
    for number, (_, emotions) in enumerate(examples, start=1):
        row = page.locator("fieldset").filter(has_text=f"What you hear in example {number}")
        for emotion in emotions:
            row.get_by_label(emotion, exact=True).check()


def _seconds(page: Any, clip: Path, models: int) -> float:
    """Return the seconds until the page shows the answers of all models about a clip."""
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
