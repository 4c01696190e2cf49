"""Baselines without a model: random answers, no label, the person's most frequent label.

Every comparison shows them, because a useful method has to score more than they do. `METHODS` lists the
methods that a comparison measures where none are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from perser.episodes.episode import Support
from perser.labels import EmotionSet
from perser.personalizer import Personalizer, RouteContext, refuse_pairs
from perser.route import Route

RANDOM_LOGIT_STD = 0.9
"""Standard deviation of an untrained classifier's logits, which reproduces the paper's Random row."""


class TrivialPredictor:
    """Gives probabilities that depend on the number of utterances alone."""

    def __init__(self, probabilities: Callable[[int], np.ndarray]) -> None:
        self._probabilities = probabilities

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        return self._probabilities(len(utterances)).astype(np.float32)


Rule = Callable[[Support, int, EmotionSet], np.ndarray]
"""Maps a support, a number of utterances and the labels to choose from to probabilities."""


class TrivialPersonalizer(Personalizer):
    """Reads no recording; `rule` gives the probabilities of these labels."""

    route: ClassVar[str] = "trivial"

    def __init__(self, rule: Rule, labels: EmotionSet) -> None:
        self._rule = rule
        self._labels = labels

    def personalize(self, support: Support) -> TrivialPredictor:
        return TrivialPredictor(lambda count: self._rule(support, count, self._labels))

    def with_labels(self, labels: EmotionSet) -> TrivialPersonalizer:
        return TrivialPersonalizer(self._rule, labels)


def random(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Random: probabilities drawn by chance, as from a classifier that was never trained."""
    refuse_pairs("random", pairs)

    def rule(support: Support, count: int, labels: EmotionSet) -> np.ndarray:
        return random_probabilities(count, len(labels), support.seed)

    return TrivialPersonalizer(rule, context.emotions)


def nothing(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Nothing: uniform probabilities, the same for each emotion, so that no label passes 1/C."""
    refuse_pairs("nothing", pairs)

    def rule(support: Support, count: int, labels: EmotionSet) -> np.ndarray:
        return np.full((count, len(labels)), 1 / len(labels))

    return TrivialPersonalizer(rule, context.emotions)


def most_frequent(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Most frequent: always the emotion that the person named most often in the labeled clips."""
    refuse_pairs("most-frequent", pairs)

    def rule(support: Support, count: int, labels: EmotionSet) -> np.ndarray:
        return np.tile(_most_frequent(support, labels), (count, 1))

    return TrivialPersonalizer(rule, context.emotions)


def random_probabilities(count: int, size: int, seed: int) -> np.ndarray:
    """Return (count, size) rows of softmax(0.9 N(0, 1))."""
    logits = RANDOM_LOGIT_STD * np.random.default_rng(seed).standard_normal((count, size))
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def _most_frequent(support: Support, emotions: EmotionSet) -> np.ndarray:
    counts = emotions.multi_hot(support.emotions).sum(axis=0)
    return np.eye(len(emotions))[counts.argmax()]


ROUTE = Route(
    "trivial",
    methods={"random": random, "nothing": nothing, "most-frequent": most_frequent},
    numbered=(),
    learn_labels=("random", "nothing", "most-frequent"),
)

METHODS = (
    "random",
    "nothing",
    "most-frequent",
    "entire-zero",
    "prior-shift",
    "bias-scale",
    "entire-few",
    "head-few",
    "meta-perser",
    "speech-lm-0",
    "speech-lm-0+prior-shift",
    "speech-lm-8",
    "speech-lm-32",
)


def for_supports_of(k: int, methods: Sequence[str]) -> tuple[str, ...]:
    """Return methods for supports of `k` pairs: those that read more pairs read `k` instead."""
    names = []
    for name in methods:
        method, _, pairs = name.rpartition("-")
        names.append(f"{method}-{k}" if pairs.isdecimal() and int(pairs) > k else name)
    return tuple(dict.fromkeys(names))
