"""Clips of similar length together, so that a batch of 2-12 s clips is not padded to its longest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from perser.encoders.encoder import pad


@dataclass(frozen=True)
class Bucket:
    """Some clips of a batch, similar in length.

    `frames`: what enters the moving part, (b, T, F or D), with `mask` (b, T), or None where no frame is
    padding. `places`: (b,), where in the batch these clips belong.
    """

    frames: Tensor
    mask: Tensor | None
    places: Tensor

    def to(self, device: torch.device) -> Bucket:
        mask = None if self.mask is None else self.mask.to(device)
        return Bucket(self.frames.to(device), mask, self.places.to(device))


@dataclass(frozen=True)
class ClipBatch:
    """What the moving part of a recognizer reads of B clips.

    `lower`: time means of the hidden states that do not move, (B, num_lower, D).
    `buckets`: every clip's frames, in one of them; none where only the head moves.
    """

    lower: Tensor
    buckets: tuple[Bucket, ...] = ()

    def to(self, device: torch.device) -> ClipBatch:
        return ClipBatch(self.lower.to(device), tuple(one.to(device) for one in self.buckets))


BUCKET_COST = 100
"""What one more bucket must save to be worth its fixed work, in padded frames (2 s of speech)."""


def bucketed(clips: Sequence[Tensor]) -> tuple[Bucket, ...]:
    """Frames (T_i, F) of several clips in the buckets of `bucket_places`, each padded to its own longest."""
    buckets = []
    for places in bucket_places([len(clip) for clip in clips]):
        frames, mask = pad([clips[place] for place in places])
        buckets.append(Bucket(frames, None if mask.all() else mask, torch.tensor(places)))
    return tuple(buckets)


def bucketed_alike(persons: Sequence[Sequence[Tensor]]) -> tuple[Bucket, ...]:
    """Frames of several persons' clips, equally many each and shortest first, in buckets of one shape for
    all: `frames` (P, b, T, F), `mask` (P, b, T), and `places` (b,), which all persons share.

    The clips at one place go by the longest of them.
    """
    buckets = []
    for places in bucket_places(joint_lengths([[len(clip) for clip in clips] for clips in persons])):
        frames, mask = pad([clips[place] for clips in persons for place in places])
        shape = (len(persons), len(places))
        buckets.append(Bucket(frames.unflatten(0, shape), mask.unflatten(0, shape), torch.tensor(places)))
    return tuple(buckets)


def joint_lengths(persons: Sequence[Sequence[int]]) -> list[int]:
    """The longest clip at each place, over persons with equally many clips."""
    return [max(lengths) for lengths in zip(*persons, strict=True)]


def bucket_places(lengths: Sequence[int]) -> list[list[int]]:
    """Places of the clips, a list a bucket, shortest clips first.

    Of all ways to cut the clips, sorted by length, into buckets, the one with the least
    sum over buckets of (clips * longest + BUCKET_COST): padded frames, and a price that keeps buckets few.
    Found exactly, from the cheapest ways to cut the first 1, 2, ... clips.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cheapest, cuts = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs = [cheapest[start] + (end - start) * longest + BUCKET_COST for start in range(end)]
        cheapest.append(min(costs))
        cuts.append(costs.index(cheapest[-1]))
    buckets: list[list[int]] = []
    end = len(order)
    while end:
        buckets.insert(0, order[cuts[end] : end])
        end = cuts[end]
    return buckets
