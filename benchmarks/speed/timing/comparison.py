"""The results of a comparison, the check that contenders agree, and the retry when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch

Result = TypeVar("Result")

TOLERANCE = 1e-4
"""Largest allowed distance of our result from a peer's, relative to the peer's, in float32."""


@dataclass(frozen=True)
class Peaks:
    """Peak memory in bytes by contender: the peers first, our code last."""

    title: str
    peaks: dict[str, int]

    @property
    def ratio(self) -> float:
        """The first peer's peak over ours."""
        theirs, *_, own = self.peaks.values()
        return theirs / own


@dataclass(frozen=True)
class Row:
    """One contender: its seconds in each round, and its floating-point operations."""

    name: str
    rounds: list[float]
    operations: int

    @property
    def seconds(self) -> float:
        """The median over the rounds."""
        return median(self.rounds)


@dataclass(frozen=True)
class Timing:
    """The contenders on one task.

    Args:
        title: what was timed.
        rows: the contenders, the peers first.
        ours: the row that the ratios compare with.
        encoding: seconds of our encoding of the clips in each round, which is done once; empty if the task
            has no such part.
        ratios: the peers' seconds over ours, by name.
        agreement: distance of our result from each peer's.
        distance_in: the unit of that distance.
        notes: further lines to print.
    """

    title: str
    rows: list[Row]
    ours: Row
    encoding: list[float]
    ratios: dict[str, float]
    agreement: dict[str, float]
    distance_in: str = "relative"
    notes: tuple[str, ...] = ()


def check_agreement(distances: dict[str, float]) -> None:
    """Raise RuntimeError if our result is not a peer's: a ratio of their speeds would mean nothing."""
    for name, far in distances.items():
        if not far <= TOLERANCE:
            raise RuntimeError(f"ours and {name} are {far:.1e} apart, more than {TOLERANCE:.0e}")


def halve_until_it_fits(clips: int, run: Callable[[int], Result]) -> Result:
    """Return `run(clips)`; while the GPU's memory is not enough, try again with half as many clips."""
    while True:
        try:
            return run(clips)
        except torch.OutOfMemoryError:
            if clips == 1:
                raise
        torch.cuda.empty_cache()
        clips //= 2
