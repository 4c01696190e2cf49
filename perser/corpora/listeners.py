"""Simulated listeners: a personal way to turn what most people hear in a clip into one's own labels.

A listener sharpens and biases the clip's votes (the share of people who hear each emotion):

    logits = sharpness * log(votes + EPSILON) + bias + NOISE * Gumbel(0, 1)

The top logit is a label, and so is every emotion within `breadth` of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPSILON = 0.01
"""Added to vote shares, so that an emotion nobody voted for stays possible."""

NOISE = 0.5
"""Scale of the Gumbel noise: how much one listener wavers from clip to clip."""

SHARPNESS = (0.6, 1.6)

BIAS_STD = 1.2

MAX_BREADTH = 0.8
"""Gives about 1.2 labels a response; a listener's breadth is uniform below this."""


@dataclass(frozen=True)
class ListenerStyle:
    """How one simulated listener labels; C is the number of emotions."""

    name: str
    bias: tuple[float, ...]
    """(C,) added to the logits: emotions this listener says more or less readily."""
    sharpness: float
    """How closely the listener follows the votes; 0 ignores the clip."""
    breadth: float
    """How far below the top, in logits, another emotion is still given too; 0 gives exactly one label."""


def draw_listeners(
    count: int, num_emotions: int, rng: np.random.Generator, prefix: str = "sim"
) -> list[ListenerStyle]:
    """Draw `count` listeners named `sim-000`, `sim-001`, ...

    Each has its own child of `rng`, so a longer draw from an equal generator starts with the same listeners.
    """
    return [
        ListenerStyle(
            name=f"{prefix}-{index:03d}",
            bias=tuple(child.normal(0.0, BIAS_STD, num_emotions).tolist()),
            sharpness=float(child.uniform(*SHARPNESS)),
            breadth=float(child.uniform(0.0, MAX_BREADTH)),
        )
        for index, child in enumerate(rng.spawn(count))
    ]


def annotate(style: ListenerStyle, votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The listener's labels for clips with these votes.

    `votes`: (num_clips, C), each row the share of votes per emotion, summing to 1. Returns bool of the same
    shape with at least one True a row. Raises ValueError for votes that are no distribution over C emotions.
    """
    votes = np.asarray(votes, dtype=np.float64)
    if votes.ndim != 2 or votes.shape[1] != len(style.bias):
        raise ValueError(f"votes need shape (num_clips, {len(style.bias)}), got {votes.shape}")
    if (votes < 0).any() or not np.allclose(votes.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError("every row of votes must be a distribution: not negative, summing to 1")
    logits = style.sharpness * np.log(votes + EPSILON) + np.array(style.bias)
    logits += NOISE * rng.gumbel(size=votes.shape)
    return logits >= logits.max(axis=1, keepdims=True) - style.breadth
