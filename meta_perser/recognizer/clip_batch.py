"""Batches of clips, in buckets of similar length, so that 2-12 s clips are not all padded to the longest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perser.device import is_gpu, to_device
from perser.encoders.encoder import pad


@dataclass(frozen=True)
class Bucket:
    """Some clips of a batch, similar in length.

    Args:
        frames: what enters the moving part, (b, T, F or D).
        mask: True on real frames, (b, T); None where no frame is padding.
        positions: each clip's index in the batch, (b,).
    """

    frames: Tensor
    mask: Tensor | None
    positions: Tensor

    def split(self, at_once: int) -> list[Bucket]:
        """Return the bucket in parts of at most `at_once` clips."""
        masks = [None] * len(self.positions) if self.mask is None else self.mask.split(at_once)
        frames, positions = self.frames.split(at_once), self.positions.split(at_once)
        return [Bucket(*part) for part in zip(frames, masks, positions, strict=False)]

    def to(self, device: torch.device) -> Bucket:
        """Return the bucket on a device."""
        mask = None if self.mask is None else to_device(self.mask, device)
        return Bucket(to_device(self.frames, device), mask, to_device(self.positions, device))


@dataclass(frozen=True)
class ClipBatch:
    """What the moving part of a recognizer reads of B clips.

    Args:
        lower: time means of the hidden states that do not move, (B, num_lower, D).
        buckets: the frames of every clip, each in one bucket; empty where only the head moves.
    """

    lower: Tensor
    buckets: tuple[Bucket, ...] = ()

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on a device."""
        return ClipBatch(to_device(self.lower, device), tuple(bucket.to(device) for bucket in self.buckets))

    def split(self, at_once: int) -> list[tuple[ClipBatch, Tensor]]:
        """Return the batch in parts of at most `at_once` clips, each with its clips' places in the batch.

        Clips of similar length stay together.
        """
        places = torch.arange(len(self.lower), device=self.lower.device)
        # Where only the head moves, there are no frames: any order will do.
        buckets = self.buckets or (Bucket(self.lower, None, places),)
        parts = []
        for piece in (piece for bucket in buckets for piece in bucket.split(at_once)):
            own = replace(piece, positions=places[: len(piece.positions)])
            parts.append(
                (ClipBatch(self.lower[piece.positions], (own,) if self.buckets else ()), piece.positions)
            )
        return parts


BUCKET_COST = 100
"""Fixed cost of a bucket on a CPU, in padded frames (2 s of speech)."""

GPU_BUCKET_COST = 5_000
"""The same on a GPU: the time to start a thousand kernels, in which wav2vec2-base reads 100 s of speech."""


def bucket_cost(device: torch.device) -> int:
    """Return the fixed cost of a bucket on a device, in padded frames."""
    return GPU_BUCKET_COST if is_gpu(device) else BUCKET_COST


def bucketed(clips: Sequence[Tensor], cost: int = BUCKET_COST) -> tuple[Bucket, ...]:
    """Return the clips' frames (T_i, F) in the buckets of `bucket_positions`, each padded to its longest."""
    buckets = []
    for positions in bucket_positions([len(clip) for clip in clips], cost):
        frames, mask = pad([clips[position] for position in positions])
        buckets.append(Bucket(frames, None if mask.all() else mask, torch.tensor(positions)))
    return tuple(buckets)


def stacked_buckets(persons: Sequence[Sequence[Tensor]], cost: int = BUCKET_COST) -> tuple[Bucket, ...]:
    """Return the clips of P persons, equally many each and shortest first, in buckets of one shape for all.

    `frames` are (P, b, T, F), `mask` (P, b, T), and `positions` (b,), which all persons share. Every position
    is padded to the longest clip that any person has there.
    """
    buckets = []
    longest = longest_at_each_position([[len(clip) for clip in clips] for clips in persons])
    for positions in bucket_positions(longest, cost):
        frames, mask = pad([clips[position] for clips in persons for position in positions])
        shape = (len(persons), len(positions))
        buckets.append(Bucket(frames.unflatten(0, shape), mask.unflatten(0, shape), torch.tensor(positions)))
    return tuple(buckets)


def longest_at_each_position(persons: Sequence[Sequence[int]]) -> list[int]:
    """Return the longest clip at each position, over persons with equally many clips."""
    return [max(lengths) for lengths in zip(*persons, strict=True)]


def bucket_positions(lengths: Sequence[int], cost: int = BUCKET_COST) -> list[list[int]]:
    """Return the positions of the clips in each bucket, shortest clips first.

    Of all ways to cut the clips, sorted by length, into buckets, this is the one with the smallest sum over
    buckets of clips * longest + cost, found by dynamic programming over the first 1, 2, ... clips.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cheapest, cuts = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs = [cheapest[start] + (end - start) * longest + cost for start in range(end)]
        cheapest.append(min(costs))
        cuts.append(costs.index(cheapest[-1]))
    buckets: list[list[int]] = []
    end = len(order)
    while end:
        buckets.insert(0, order[cuts[end] : end])
        end = cuts[end]
    return buckets
