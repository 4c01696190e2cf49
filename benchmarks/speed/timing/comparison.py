"""What a comparison found, and how one gives way where theirs does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch


@dataclass(frozen=True)
class Peaks:
    """Bytes by contender, theirs first."""

    title: str
    peaks: dict[str, int]

    @property
    def ratio(self) -> float:
        """Theirs over ours."""
        theirs, *_, own = self.peaks.values()
        return theirs / own


Found = TypeVar("Found")

TOLERANCE = 1e-4
"""Largest distance of ours from theirs, relative to theirs, in float32."""


@dataclass(frozen=True)
class Row:
    """Seconds of one contender in each round, and its floating-point operations."""

    who: str
    rounds: list[float]
    operations: int

    @property
    def seconds(self) -> float:
        return median(self.rounds)


@dataclass(frozen=True)
class Timing:
    """Contenders on one task, theirs first; `ours`: the row that the ratios are of; `encoding`: seconds of
    ours' one-off encoding of the clips in each round, where that is a part of it; `notes`: what else
    there is to say, a line each."""

    title: str
    rows: list[Row]
    ours: Row
    encoding: list[float]
    ratios: dict[str, float]
    agreement: dict[str, float]
    """Distance of ours from theirs, by contender."""
    distance_in: str = "relative"
    notes: tuple[str, ...] = ()


def check_agreement(distances: dict[str, float]) -> None:
    """Raises RuntimeError where ours and theirs did not compute the same: a ratio would mean nothing."""
    for who, far in distances.items():
        if not far <= TOLERANCE:
            raise RuntimeError(f"ours and {who} are {far:.1e} apart, more than {TOLERANCE:.0e}")


def halved_until_it_fits(clips: int, run: Callable[[int], Found]) -> Found:
    """`run(clips)`, with half as many clips each time that the accelerator's memory is not enough."""
    while True:
        try:
            return run(clips)
        except torch.OutOfMemoryError:
            if clips == 1:
                raise
        torch.cuda.empty_cache()
        clips //= 2
