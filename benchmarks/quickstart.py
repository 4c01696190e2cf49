"""perser quickstart: run the experiment in quickstart.yaml, which simulates its corpus and downloads nothing.

A file of its own because it is a command of its own.
"""

from __future__ import annotations

from pathlib import Path


def quickstart(out: Path = Path("runs/quickstart"), seed: int = 0) -> None:
    """Simulate a corpus, train both routes on it and compare them with the baselines, in minutes on a CPU.

    Args:
        out: folder of everything that the run writes.
        seed: seed of the simulation, the training and the episodes.

    Examples:
        perser quickstart
    """
    from benchmarks.experiment import experiment
    from benchmarks.experiments.options import QUICKSTART, read_experiment

    experiment(**read_experiment(QUICKSTART, "--out", str(out), "--seed", str(seed)))
