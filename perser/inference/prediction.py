"""What is answered about a clip: probabilities, the labels that they give, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from perser.labels import Emotions, EmotionSet, decide

if TYPE_CHECKING:
    from perser.inference.clips import Clip, Failure


@dataclass(frozen=True)
class Classification:
    """What a recognizer says about one clip.

    Args:
        probabilities: By emotion, in the model's order; they sum to 1.
        labels: The emotions whose probability is above 1/C, for C emotions; none where all are equal.
        confidence: 1 - H(p) / log C for the entropy H of the probabilities: 0 where all emotions are equally
            probable, 1 where one is certain.
    """

    probabilities: dict[str, float]
    labels: Emotions
    confidence: float


@dataclass(frozen=True)
class Prediction(Classification):
    """The answer about one clip.

    Args:
        path: The clip's path as it was given, or `clip 3`, counted from 1, for another form.
        unadapted: What the same model answers without an enrollment; None where there was no enrollment.
    """

    path: str
    unadapted: Classification | None = None


def classify(emotions: EmotionSet, probabilities: np.ndarray) -> Classification:
    """Return the answer that a row of probabilities (num_emotions,) gives."""
    entropy = -(probabilities * np.log(probabilities.clip(min=1e-30))).sum(dtype=np.float64)
    return Classification(
        probabilities=dict(zip(emotions.names, probabilities.tolist(), strict=True)),
        labels=emotions.words(decide(probabilities[None])[0]),
        confidence=float(np.clip(1 - entropy / np.log(len(probabilities)), 0, 1)),
    )


class AnswersClips(Protocol):
    """What answers about clips: a recognizer, personalized or not."""

    @property
    def emotions(self) -> EmotionSet: ...

    def stream(self, clips: Clip | Iterable[Clip]) -> Iterator[Prediction | Failure]:
        """Yield the answers, or why a clip could not be used, in the clips' order."""
        ...
