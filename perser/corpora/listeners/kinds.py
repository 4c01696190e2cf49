"""The two kinds of simulated listeners: realistic ones, and strong ones for developing methods.

**Realistic** listeners are fitted to what is published of CREMA-D's 2,443 crowd listeners, and frozen. Each
has

- a reliability: a sharpness (log-normal), and for 10 in 2,443 a lapse rate of 1, since so many do not agree
  with the others more than chance does;
- one construal: a bias along the fixed direction CONSTRUAL, most of which is how readily the listener says
  neutral.

Nothing else is published of how they differ, and the public sample of single answers has about one answer of
each listener, which shows no further term. So they have no confusion of their own and no other bias. They
give one label, as CREMA-D's forced choice did. `python -m benchmarks.listener_moments` compares the published
figures with those of a draw.

**Strong** listeners differ far more than people do: each has a bias for every emotion, a sharpness, a breadth
(how many labels they give) and, in STRONG, a confusion of their own. It mixes up the emotions that the clips
themselves leave open: where the shares of two emotions often are large together, each is often perceived as
the other. QUICKSTART is the same without the confusion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perser.corpora.listeners.listener import Listener
from perser.labels import EmotionSet

CONSTRUAL = {"angry": 0.05, "disgust": 0.0, "fear": -0.07, "happy": -0.2, "neutral": 0.32, "sad": 0.0}
"""The bias of a realistic listener who is one standard deviation from the mean."""

SHARPNESS, SHARPNESS_STD = 0.59, 0.24
"""Median of the realistic listeners' sharpness, and standard deviation of its logarithm."""

INATTENTIVE = 10 / 2443
"""Share of the realistic listeners who never listen: their lapse rate is 1, that of all others 0."""

STRONG_SHARPNESS = (0.6, 1.6)
"""Range of a strong listener's sharpness (uniform)."""

BIAS_STD = 1.2
"""Standard deviation of a strong listener's bias for each emotion (normal, mean 0)."""

MAX_BREADTH = 0.8
"""A strong listener's breadth is uniform from 0 to this; it gives about 1.2 labels per response."""

MAX_CONFUSED = 0.8
"""For each emotion, the share that a strong listener perceives as others is uniform from 0 to this."""

CONFUSION_SPREAD = 2.0
"""Concentration of the Dirichlet distribution of what an emotion is perceived as; larger makes listeners more
alike."""


@dataclass(frozen=True)
class ListenerKind:
    """A distribution of listeners.

    Args:
        name: `realistic` or `strong`, as reports and cards show it.
        draw: `(name, emotions, confusability, rng) -> Listener`.
    """

    name: str
    draw: Callable[[str, EmotionSet, np.ndarray, np.random.Generator], Listener]

    def listeners(
        self, count: int, emotions: EmotionSet, shares: np.ndarray, rng: np.random.Generator
    ) -> list[Listener]:
        """Draw `count` listeners of clips with these shares (num_clips, C), named `sim-000`, `sim-001`, ...

        Each is drawn from its own child of `rng`, so that a longer draw begins with the same listeners.
        """
        common = confusability(shares)
        return [
            self.draw(f"sim-{index:03d}", emotions, common, child)
            for index, child in enumerate(rng.spawn(count))
        ]


def confusability(shares: np.ndarray) -> np.ndarray:
    """Return how often two people who disagree about a clip hear this and that emotion: (C, C).

    Rows sum to 1, and the diagonal is 0.
    """
    together = shares.T @ shares
    np.fill_diagonal(together, 0.0)
    together += 1e-9 * (1 - np.eye(len(together)))  # where all clips are clear, every confusion is as likely
    return together / together.sum(axis=1, keepdims=True)


def _draw_realistic(
    name: str, emotions: EmotionSet, common: np.ndarray, rng: np.random.Generator
) -> Listener:
    construal = np.array([CONSTRUAL.get(emotion, 0.0) for emotion in emotions.names])
    return Listener(
        name=name,
        bias=tuple((rng.normal() * construal).tolist()),
        sharpness=float(SHARPNESS * np.exp(SHARPNESS_STD * rng.normal())),
        lapse=float(rng.random() < INATTENTIVE),
    )


def _draw_strong_without_confusion(
    name: str, emotions: EmotionSet, common: np.ndarray, rng: np.random.Generator
) -> Listener:
    return Listener(
        name=name,
        bias=tuple(rng.normal(0.0, BIAS_STD, len(emotions)).tolist()),
        sharpness=float(rng.uniform(*STRONG_SHARPNESS)),
        breadth=float(rng.uniform(0.0, MAX_BREADTH)),
    )


def _draw_strong(name: str, emotions: EmotionSet, common: np.ndarray, rng: np.random.Generator) -> Listener:
    listener = _draw_strong_without_confusion(name, emotions, common, rng)
    confused = rng.uniform(0.0, MAX_CONFUSED, len(emotions))
    # Gamma variables of a tiny shape can all be 0, so that the first line of each row is never alone.
    gamma = rng.gamma(CONFUSION_SPREAD * common) + 1e-12 * common
    perceived = gamma / gamma.sum(axis=1, keepdims=True)
    confusion = np.diag(1 - confused) + confused[:, None] * perceived
    return Listener(
        name,
        listener.bias,
        listener.sharpness,
        listener.breadth,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


REALISTIC = ListenerKind("realistic", _draw_realistic)

STRONG = ListenerKind("strong", _draw_strong)

QUICKSTART = ListenerKind("strong", _draw_strong_without_confusion)
"""Strong listeners without the confusion, as all were in version 0.1.0. The quickstart has them."""
