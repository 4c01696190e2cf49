"""Simulated listeners: each labels clips by a personal rule from the votes of many people.

The votes of a clip are the share of people who hear each emotion. A listener sharpens and biases them:

    logits = sharpness * log(votes + EPSILON) + bias + NOISE * Gumbel(0, 1)

The emotion with the largest logit is a label, and so is every emotion within `breadth` of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPSILON = 0.01
"""Added to vote shares, so that an emotion without votes stays possible."""

NOISE = 0.5
"""Scale of the Gumbel noise: how much a listener varies from clip to clip."""

SHARPNESS = (0.6, 1.6)
"""Range of a listener's sharpness (uniform)."""

BIAS_STD = 1.2
"""Standard deviation of a listener's bias for each emotion (normal, mean 0)."""

MAX_BREADTH = 0.8
"""A listener's breadth is uniform from 0 to this; it gives about 1.2 labels per response."""


@dataclass(frozen=True)
class ListenerStyle:
    """How one simulated listener labels. C is the number of emotions."""

    name: str
    bias: tuple[float, ...]
    """(C,) added to the logits: the emotions that this listener gives more or less readily."""
    sharpness: float
    """How closely the listener follows the votes; 0 ignores the clip."""
    breadth: float
    """Emotions whose logit is at most this far below the largest are given too; 0 gives exactly one label."""


def draw_listeners(
    count: int, num_emotions: int, rng: np.random.Generator, prefix: str = "sim"
) -> list[ListenerStyle]:
    """Draw `count` listeners named `sim-000`, `sim-001`, ...

    Each is drawn from its own child of `rng`, so that a longer draw begins with the same listeners.
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
    """Return the listener's labels for clips with these votes.

    `votes` is (num_clips, C); each row is the share of votes for each emotion and sums to 1. The result is
    bool of the same shape, with at least one True per row. Raises ValueError if the votes are no
    distributions over C emotions.
    """
    votes = np.asarray(votes, dtype=np.float64)
    if votes.ndim != 2 or votes.shape[1] != len(style.bias):
        raise ValueError(f"votes need shape (num_clips, {len(style.bias)}), got {votes.shape}")
    if (votes < 0).any() or not np.allclose(votes.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError("every row of votes must be a distribution: not negative, summing to 1")
    logits = style.sharpness * np.log(votes + EPSILON) + np.array(style.bias)
    logits += NOISE * rng.gumbel(size=votes.shape)
    return logits >= logits.max(axis=1, keepdims=True) - style.breadth
