"""perser quickstart: both routes trained and compared on a corpus made on the spot, nothing downloaded."""

from __future__ import annotations

from pathlib import Path


def quickstart(out: Path = Path("runs/quickstart"), seed: int = 0) -> None:
    """Simulate a corpus, train both routes on it and compare them with the baselines, in minutes on a CPU.

    Args:
        out: folder of everything that the run makes.
        seed: of the simulation, the training and the episodes.
    """
    from benchmarks.experiment import experiment
    from perser.cli.main import parse_command

    experiment(**parse_command(experiment, ["--out", str(out), "--seed", str(seed)]))
