"""python -m benchmarks.speed.first_answer [--run runs/quickstart] [--json FILE]

Measure how long a person waits for a first answer, over how long it takes to import the libraries alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.io.json_files import write_json
from perser.labels import Emotions

IMPORTS = "import torch, peft; from transformers import LlamaForCausalLM, Wav2Vec2Model"

MODELS = {"meta_perser": "meta-perser", "speech_lm": "speech-lm"}
"""Each ratio's name, and the folder of its model."""

PAIRS = 8

Labeled = tuple[Path, Emotions]
"""A recording and its labels."""


def speed_first_answer(
    run: Path = Path("runs/quickstart"), rounds: int = 5, json: Path | None = None
) -> None:
    """Measure how long `perser predict` takes, with its start, to enroll 8 clips and answer about another.

    Args:
        run: a finished quickstart, or another run of `perser experiment`.
        rounds: how often each command is timed; medians are compared.
        json: a file for every figure; none: print the ratios only.
    """
    if rounds < 1:
        raise UserError(f"rounds: {rounds}, give at least 1")
    check_outputs(files={"json": json})
    examples, [query] = first_episode_clips(run, PAIRS, 1)
    commands = {"imports": [sys.executable, "-c", IMPORTS]}
    commands |= {name: _predict_command(run / "models" / MODELS[name], examples, query) for name in MODELS}
    for command in commands.values():
        _seconds(command)  # from now on the files are in the system's cache, for every command
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
        figures = {"ratios": ratios, "seconds": medians, "rounds": seconds}
        write_json(json, figures)


def first_episode_clips(run: Path, pairs: int, queries: int) -> tuple[list[Labeled], list[Path]]:
    """Return the first pairs of a run's first episode, as files with their labels, and its first queries."""
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile

    recordings = Corpus.load(run / "corpus").recordings
    episode = EpisodeFile.load(run / "episodes.json").episodes[0]
    support = episode.support.first(pairs)
    labeled = zip(support.utterances, support.emotions, strict=True)
    examples = [(recordings.path(utterance), emotions) for utterance, emotions in labeled]
    return examples, [recordings.path(utterance) for utterance in episode.query_utterances[:queries]]


def _predict_command(model: Path, examples: Sequence[Labeled], query: Path) -> list[str]:
    """Return the command that answers about a clip after an enrollment of the examples."""
    enroll = [f"{path}={','.join(emotions)}" for path, emotions in examples]
    predict = [sys.executable, "-m", "perser.cli", "predict", "--model", str(model), "--json"]
    return [*predict, "--enroll", *enroll, "--", str(query)]


def _seconds(command: Sequence[str]) -> float:
    """Return the wall-clock time of one process. Raises UserError if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode:
        raise UserError(f"{' '.join(command[:5])} ... failed: {done.stderr.strip().splitlines()[-1:]}")
    return taken


if __name__ == "__main__":
    run_command(speed_first_answer)
