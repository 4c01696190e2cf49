"""Answers of listeners that are generated with known differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax

from benchmarks.ceiling.answers import Answers
from perser.corpora.listing import Annotation
from perser.labels import EmotionSet

EMOTIONS = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="session")
def make_answers() -> Callable[..., Answers]:
    """A function from emotions (num_listeners, num_utterances), as numbers, to `Answers`."""

    def make(heard: np.ndarray) -> Answers:
        annotations = [
            Annotation(f"u{utterance:04d}", f"listener-{listener:03d}", (EMOTIONS[emotion],))
            for (listener, utterance), emotion in np.ndenumerate(heard)
        ]
        return Answers.of(annotations, EmotionSet(EMOTIONS), "a corpus")

    return make


@pytest.fixture(scope="session")
def generate() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function that draws listeners and their answers.

    It returns the utterances' true shares (U, C), the probabilities of each listener's answers (L, U, C) and
    the answers (L, U). A listener's logits are `t * log(shares) + shares @ W + b`. The arguments are the
    standard deviations of b, log t and W between listeners.
    """

    def draw(seed, listeners, utterances, bias=0.0, reliability=0.0, confusion=0.0):
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet([0.6, 0.5, 1.2, 0.6], utterances).clip(5e-3)
        shares /= shares.sum(axis=1, keepdims=True)
        biases = bias * rng.standard_normal((listeners, 1, 4))
        temperatures = np.exp(reliability * rng.standard_normal((listeners, 1, 1)))
        matrices = confusion * rng.standard_normal((listeners, 4, 4))
        probabilities = softmax(temperatures * np.log(shares) + shares @ matrices + biases, axis=-1)
        heard = (probabilities.cumsum(axis=-1) < rng.random((listeners, utterances, 1))).sum(axis=-1)
        return shares, probabilities, np.minimum(heard, 3)

    return draw
