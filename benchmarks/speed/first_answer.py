"""python -m benchmarks.speed.first_answer [--run runs/quickstart] [--json FILE]

How long a person waits for a first answer, over how long the libraries alone take to be imported.
"""

from __future__ import annotations

import json as json_format
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import write_text_atomic

IMPORTS = "import torch, peft; from transformers import LlamaForCausalLM, Wav2Vec2Model"

MODELS = {"meta_perser": "meta-perser", "speech_lm": "speech-lm"}
"""Ratio's name to the model's folder."""

PAIRS = 8


def speed_first_answer(
    run: Path = Path("runs/quickstart"), rounds: int = 5, json: Path | None = None
) -> None:
    """How long `perser predict` takes to enroll 8 clips and answer about one, start-up included.

    Args:
        run: a finished quickstart, or another run of `perser experiment`.
        rounds: turns that everyone has; medians are compared.
        json: a file for every figure; none: the ratios alone.
    """
    if rounds < 1:
        raise UserError(f"rounds: {rounds}, give at least 1")
    commands = {"imports": [sys.executable, "-c", IMPORTS]}
    commands |= {name: _answer(run, folder) for name, folder in MODELS.items()}
    for command in commands.values():
        _seconds(command)  # what is read from disk is in memory from now on, for everyone
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            seconds[name].append(_seconds(command))
    medians = {name: median(measured) for name, measured in seconds.items()}
    ratios = {f"{name}_vs_imports": medians[name] / medians["imports"] for name in MODELS}
    print(f"the imports alone: {medians['imports']:.2f} s")
    for name in MODELS:
        print(f"{name}: {medians[name]:.2f} s, {ratios[f'{name}_vs_imports']:.2f} times the imports")
    if json is not None:
        found = {"ratios": ratios, "seconds": medians, "rounds": seconds}
        write_text_atomic(json, json_format.dumps(found, indent=1) + "\n")


def _answer(run: Path, model: str) -> list[str]:
    """The command that answers about the first query of the first episode, after 8 of its pairs."""
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile

    recordings = Corpus.load(run / "corpus").recordings
    episode = EpisodeFile.load(run / "episodes.json").episodes[0]
    support = episode.support.first(PAIRS)
    pairs = zip(support.utterances, support.emotions, strict=True)
    examples = [f"{recordings.path(one)}={','.join(words)}" for one, words in pairs]
    query = str(recordings.path(episode.query_utterances[0]))
    predict = [
        sys.executable,
        "-m",
        "perser.cli",
        "predict",
        "--model",
        str(run / "models" / model),
        "--json",
    ]
    return [*predict, "--enroll", *examples, "--", query]


def _seconds(command: Sequence[str]) -> float:
    """Wall-clock time of one process. Raises UserError where it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode:
        raise UserError(f"{' '.join(command[:5])} ... failed: {done.stderr.strip().splitlines()[-1:]}")
    return taken


if __name__ == "__main__":
    run_command(speed_first_answer)
