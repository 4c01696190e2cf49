"""python -m benchmarks.speed.threads [--models MODEL ...] [--json FILE]

Measure whether personalizing one loaded model in threads takes longer than one person after the other.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from benchmarks.speed.maml.noise import noise_clips
from perser.audio import SAMPLE_RATE, SHORTEST_SECONDS
from perser.cli.main import run_command
from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.io.files import check_outputs
from perser.io.json_files import write_json

MODELS = ("runs/quickstart/models/meta-perser", "runs/quickstart/models/speech-lm")

Labeled = tuple[Tensor, str]
"""A waveform and its label."""


def speed_threads(
    models: list[str] | None = None,
    persons: int = 8,
    examples: int = 8,
    rounds: int = 5,
    seconds: float = 0.5,
    json: Path | None = None,
) -> None:
    """Measure how long it takes to enroll persons and to answer one clip for each, in threads and in turn.

    All rounds in turn come first: once threads have computed, OpenMP has threads for them too, and both ways
    take longer. The fastest rounds are compared, because other programs slow single rounds down.

    Args:
        models: trained models of either route; none: those of `perser quickstart`.
        persons: how many persons, each in a thread of their own.
        examples: clips that each of them labels.
        rounds: how often each way is timed.
        seconds: the length of every clip. The shorter it is, the harder it is to lose nothing.
        json: a file for every figure; none: print the ratios only.
    """
    for name, value in (("persons", persons), ("examples", examples), ("rounds", rounds)):
        if value < 1:
            raise UserError(f"{name}: {value}, give at least 1")
    if not SHORTEST_SECONDS <= seconds <= 30:
        raise UserError(f"seconds: {seconds}, give {SHORTEST_SECONDS} to 30")
    check_outputs(files={"json": json})
    recognizers = {model: Recognizer.from_pretrained(model, "cpu") for model in models or MODELS}
    clips = [_lengthened(clip, seconds) for clip in noise_clips(persons * examples)]
    took = {name: _time(each, clips, examples, rounds) for name, each in recognizers.items()}
    ratios = {name: min(in_threads) / min(in_turn) for name, (in_threads, in_turn) in took.items()}
    for name, (in_threads, in_turn) in took.items():
        print(
            f"{name}: {persons} persons in {persons} threads {min(in_threads):.2f} s, one after the other "
            f"{min(in_turn):.2f} s: {ratios[name]:.2f} times as long"
        )
    if json is not None:
        by_way = {name: {"threads": one, "in_turn": other} for name, (one, other) in took.items()}
        settings = {"persons": persons, "examples": examples, "clip_seconds": seconds}
        write_json(json, {"ratios": ratios, **settings, "seconds": by_way})


def _lengthened(clip: Tensor, seconds: float) -> Tensor:
    """Return a clip of this length: the beginning of the clip repeated."""
    samples = round(seconds * SAMPLE_RATE)
    return clip.repeat(-(-samples // len(clip)))[:samples]


def _time(
    recognizer: Recognizer, waveforms: Sequence[Tensor], examples: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of each round, in threads and in turn."""
    names = recognizer.emotions.names
    labeled = [
        [(waveform, names[place % len(names)]) for place, waveform in enumerate(own)]
        for own in (waveforms[start : start + examples] for start in range(0, len(waveforms), examples))
    ]

    def personalize(pairs: Sequence[Labeled]) -> None:
        recognizer.enroll(pairs).predict([waveforms[0]])

    personalize(labeled[0])
    in_threads, in_turn = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        for pairs in labeled:
            personalize(pairs)
        in_turn.append(time.perf_counter() - started)
    for _ in range(rounds):
        started = time.perf_counter()
        with ThreadPoolExecutor(len(labeled)) as pool:
            list(pool.map(personalize, labeled))
        in_threads.append(time.perf_counter() - started)
    return in_threads, in_turn


if __name__ == "__main__":
    run_command(speed_threads)
