"""python -m benchmarks.speed.corpus_size [--utterances 300000 --annotations 2000000 --json FILE]

Measure what a large corpus costs beside a small one: to prepare it, to open it, to draw the first episode and
every further one.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from json import dumps, loads
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json

SMALL = 3_000
"""Utterances of the small corpus."""

FILES = 20
"""Recordings, which all utterances share: the index is measured here, not the decoder."""

EMOTIONS = ("angry", "happy", "neutral", "sad", "surprise")

PER_LISTENER, PER_SPEAKER = 1_000, 100

K, Q = 32, 128

DRAWN = 200
"""Episodes whose median cost is taken."""

BOUNDS = {"peak_gigabytes": 2.0, "seconds_open": 5.0, "seconds_first_episode": 1.0}


def corpus_size(
    utterances: int = 300_000,
    annotations: int = 2_000_000,
    folder: Path | None = None,
    json: Path | None = None,
) -> None:
    """Measure a large corpus: prepare it from a manifest, open it, draw episodes from it.

    Every stage runs in a process of its own, so that its peak memory is its own. A listener labels a thousand
    clips, however large the corpus is.

    Args:
        utterances: of the large corpus.
        annotations: of the large corpus.
        folder: where to write both corpora; none: a temporary folder.
        json: a file for every figure; none: print them only.
    """
    check_outputs(files={"json": json}, folders={"folder": folder})
    if utterances < SMALL or annotations < utterances:
        raise UserError(f"utterances: at least {SMALL}, and no fewer annotations than utterances")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        small = _measure(Path(place) / "small", SMALL, SMALL * annotations // utterances)
        large = _measure(Path(place) / "large", utterances, annotations)
    ratio = large["seconds_episode"] / small["seconds_episode"]
    for name, value in large.items():
        bound = f" (at most {BOUNDS[name]:g})" if name in BOUNDS else ""
        print(f"{name}: {value:.3g}{bound}")
    print(f"an episode, {utterances} utterances against {SMALL}: {ratio:.2f} times")
    if json is not None:
        figures: dict[str, object] = {"ratios": {"episode_large_vs_small": ratio}}
        figures |= {"large": large, "small": small}
        figures |= {"utterances": utterances, "annotations": annotations, "bounds": BOUNDS}
        write_json(json, figures)


def _measure(place: Path, utterances: int, annotations: int) -> dict[str, float]:
    """Return the seconds and gigabytes of each stage, and the gigabytes of the largest."""
    write_manifest(place / "in", utterances, annotations)
    prepared = _in_a_process("prepare", place)
    drawn = _in_a_process("draw", place)
    peaks = {"gigabytes_prepare": prepared["gigabytes"], "gigabytes_draw": drawn["gigabytes"]}
    seconds = {name: value for name, value in (prepared | drawn).items() if name.startswith("seconds")}
    return {"peak_gigabytes": max(peaks.values())} | peaks | seconds


def write_manifest(folder: Path, utterances: int, annotations: int, seed: int = 0) -> None:
    """Write a manifest with a row for each annotation; every utterance has at least one listener."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(FILES):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(1_600), 16_000)
    draw = random.Random(seed)
    most_per_utterance = -(-annotations // utterances)
    listeners = max(2 * most_per_utterance, annotations // PER_LISTENER)
    with (folder / "manifest.csv").open("w", encoding="utf-8") as stream:
        stream.write("utterance_id,path,speaker,listener,emotions,text\n")
        for row in range(annotations):
            number, pass_number = row % utterances, row // utterances
            # Each pass over the utterances takes another listener, so that nobody labels one twice.
            listener = (number * 7 + pass_number) % listeners
            stream.write(
                f"utterance-{number:07d},{number % FILES}.wav,speaker-{number // PER_SPEAKER:05d},"
                f"listener-{listener:05d},{draw.choice(EMOTIONS)},what is spoken in {number}\n"
            )


def _in_a_process(stage: str, place: Path) -> dict[str, float]:
    """Run a stage in a new process and return its figures. Raises UserError if it fails."""
    code = f"from benchmarks.speed.corpus_size import run_stage; run_stage({stage!r}, {str(place)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{stage} failed: {done.stderr.strip().splitlines()[-1:]}")
    return loads(done.stdout.splitlines()[-1])


def run_stage(stage: str, place: str) -> None:
    """Run a stage in this process and print its figures as JSON."""
    figures = _STAGES[stage](Path(place))
    print(dumps(figures | {"gigabytes": _peak_gigabytes()}))


def _prepare(place: Path) -> dict[str, Any]:
    from perser.cli.prepare import prepare

    started = time.perf_counter()
    prepare("manifest", place / "corpus", place / "in" / "manifest.csv")
    return {"seconds_prepare": time.perf_counter() - started}


def _draw(place: Path) -> dict[str, Any]:
    from perser.corpora.corpus import Corpus
    from perser.episodes.draw import draw_episode, draw_episodes
    from perser.episodes.episode import tasks_of
    from perser.episodes.splits import SplitOptions

    started = time.perf_counter()
    corpus = Corpus.load(place / "corpus")
    opened = time.perf_counter()
    tasks = tasks_of(corpus, "listener")
    first, *_ = tasks.values()
    draw_episode(first, K, Q, seed=0)
    drawn = time.perf_counter()
    persons = list(tasks.values())
    each = [_seconds(persons[seed % len(persons)], seed) for seed in range(DRAWN)]
    before_file = time.perf_counter()
    file = draw_episodes(corpus, SplitOptions(scenario="seen", validation_persons=1), K, Q, seeds=1)
    file.save(place / "episodes.json")
    return {
        "seconds_open": opened - started,
        "seconds_first_episode": drawn - opened,
        "seconds_episode": median(each),
        "seconds_episodes_file": time.perf_counter() - before_file,
    }


def _seconds(task: Any, seed: int) -> float:
    from perser.episodes.draw import draw_episode

    started = time.perf_counter()
    draw_episode(task, K, Q, seed)
    return time.perf_counter() - started


def _peak_gigabytes() -> float:
    """Return the peak resident memory of this process. Raises UserError if the system has no /proc.

    `getrusage` does not serve: it gives the peak of the process that started this one, if that was larger.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        raise UserError(f"peak memory is read from {status}, which this system lacks")
    (line,) = [line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e9


_STAGES = {"prepare": _prepare, "draw": _draw}

if __name__ == "__main__":
    run_command(corpus_size)
