"""Suggest which clips of a pool a person should label next.

A good clip is similar to many others, above all to those about which the answers are uncertain, and differs
from the clips that are labeled already. The suggested set S maximizes

    f(S) = - sum over clips i of the pool of uncertainty(i) * distance from i to the nearest clip in S or
    labeled

which is the weighted k-median of the pool, maximized greedily. Unlike farthest-first, it does not begin
with outliers. The uncertainty is the entropy of one model's answers or, for several models, the part of the
entropy that is their disagreement (Jensen-Shannon divergence; query by committee, Seung et al. 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from torch import Tensor

from perser.errors import UserError
from perser.inference.clips import Clip, Failure, Waveforms, stream_clips
from perser.inference.recognizer import PersonalRecognizer, Recognizer

CANDIDATES_AT_ONCE = 256
"""How many clips' distances to all others are in memory at a time: those between all clips of a large pool
would not fit."""

Judge = Recognizer | PersonalRecognizer

View = tuple[str, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""A clip's name, and its representation (D,) and probabilities (num_emotions,) for each judge."""


@dataclass(frozen=True)
class Suggestion:
    """One suggested clip.

    Args:
        path: The clip's path as it was given, or `clip 3`, counted from 1, for samples.
        unsure: How uncertain the answers about it are, from 0 to 1.
        distance: Distance to the nearest clip that is labeled or was suggested before it, in units in which
            the clips of the pool are 1 from their mean on average; None for the first where nothing is
            labeled.
    """

    path: str
    unsure: float
    distance: float | None


@dataclass(frozen=True)
class Views:
    """What the judges make of n clips.

    Args:
        names: The clips' names.
        representations: One array (n, D) for each judge.
        answers: One array of probabilities (n, num_emotions) for each judge.
    """

    names: tuple[str, ...]
    representations: tuple[np.ndarray, ...]
    answers: tuple[np.ndarray, ...]


def suggest(
    judges: Sequence[Judge], pool: Sequence[Clip], n: int, labeled: Sequence[Clip] = ()
) -> tuple[list[Suggestion], list[Failure]]:
    """Return the clips of a pool to label next, the most useful first, and those that cannot be used.

    Args:
        judges: Trained models with the same emotions, personalized or not; one is enough.
        pool: Clips to choose from.
        n: How many clips to suggest, at most the whole pool.
        labeled: Clips that the person has labeled.

    Raises UserError for models with different emotions, n below 1, or a labeled clip that cannot be used.
    """
    if n < 1:
        raise UserError(f"n: {n}, give at least 1")
    if len({judge.emotions.names for judge in judges}) != 1:
        raise UserError("model: the models must know the same emotions in the same order")
    known, bad = views(judges, labeled)
    if bad:
        raise UserError(f"{bad[0].path}: {bad[0].reason}")
    seen, failures = views(judges, pool)
    if seen is None:
        return [], failures
    unsure = uncertainty(seen.answers)
    chosen = choose(seen, n, known)
    suggestions = [
        Suggestion(seen.names[index], float(unsure[index]), distance) for index, distance in chosen
    ]
    return suggestions, failures


def choose(seen: Views, n: int, known: Views | None = None) -> list[tuple[int, float | None]]:
    """Return the indices of the clips to label, given those that are labeled, as `representatives` does."""
    parts = (seen,) if known is None else (known, seen)
    count = 0 if known is None else len(known.names)
    by_judge = zip(*(part.representations for part in parts), strict=True)
    places = comparable([np.concatenate(representations) for representations in by_judge])
    return representatives(places[count:], uncertainty(seen.answers), n, places[:count])


def views(judges: Sequence[Judge], clips: Sequence[Clip]) -> tuple[Views | None, list[Failure]]:
    """Return what the judges make of clips (None where there are none), and the clips that cannot be used."""
    results = list(stream_clips(clips, lambda waveforms: _views(judges, waveforms)))
    seen = [result for result in results if not isinstance(result, Failure)]
    failures = [result for result in results if isinstance(result, Failure)]
    if not seen:
        return None, failures
    names, representations, answers = zip(*seen, strict=True)
    by_judge = [tuple(map(np.stack, zip(*rows, strict=True))) for rows in (representations, answers)]
    return Views(names, *by_judge), failures


def _views(judges: Sequence[Judge], waveforms: dict[str, Tensor]) -> list[View]:
    by_judge = [_judge(judge, waveforms) for judge in judges]
    representations, answers = (zip(*rows, strict=True) for rows in zip(*by_judge, strict=True))
    return list(zip(waveforms, representations, answers, strict=True))


def _judge(judge: Judge, waveforms: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips' representations and probabilities."""
    encoded, names = judge.model.encode_clips(Waveforms(waveforms)), list(waveforms)
    return judge.model.embed_clips(encoded, names), judge.predictor.predict_proba(encoded, names)


def uncertainty(answers: Sequence[np.ndarray]) -> np.ndarray:
    """Return how uncertain the answers are, (n,) from 0 to 1, from each judge's probabilities (n, C).

    One judge: H(p) / log C. M judges: (H(mean p) - mean H(p)) / log min(M, C), their Jensen-Shannon
    divergence over the largest possible one.
    """
    stacked = np.stack(answers).astype(np.float64)
    judges, _, emotions = stacked.shape
    total = _entropy(stacked.mean(axis=0))
    if judges == 1:
        return total / np.log(emotions)
    return np.clip(total - _entropy(stacked).mean(axis=0), 0, None) / np.log(min(judges, emotions))


def comparable(representations: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate several judges' representations (n, D_m) to (n, D), rows of mean square norm 1.

    Each is centered and scaled to the same mean square, so that none outweighs another.
    """
    scaled = []
    for representation in representations:
        centered = representation.astype(np.float64) - representation.mean(axis=0, dtype=np.float64)
        spread = np.sqrt((centered**2).sum(axis=1).mean() * len(representations))
        scaled.append(centered / spread if spread > 0 else centered)
    return np.concatenate(scaled, axis=1)


def representatives(
    places: np.ndarray, weights: np.ndarray, n: int, labeled: np.ndarray
) -> list[tuple[int, float | None]]:
    """Choose clips greedily: each time the one that most reduces the weighted sum of all clips' distances
    to the nearest labeled or chosen clip.

    Args:
        places: The clips' representations (num_clips, D).
        weights: The clips' weights (num_clips,), at least 0.
        n: How many to choose, at most all.
        labeled: Representations of the labeled clips (m, D); m may be 0.

    Returns each chosen clip's index, and its distance to the nearest labeled or chosen clip when it was
    chosen, None where there was none.
    """
    nearest = cdist(places, labeled).min(axis=1) if len(labeled) else None
    chosen: list[tuple[int, float | None]] = []
    for _ in range(min(n, len(places))):
        gain = np.concatenate([_gain(places, part, weights, nearest) for part in _parts(places)])
        gain[[index for index, _ in chosen]] = -np.inf
        index = int(gain.argmax())
        chosen.append((index, None if nearest is None else float(nearest[index])))
        distance = cdist(places, places[index : index + 1])[:, 0]
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    return chosen


def _gain(
    places: np.ndarray, candidates: np.ndarray, weights: np.ndarray, nearest: np.ndarray | None
) -> np.ndarray:
    """Return by how much each candidate reduces the sum, or the negative sum itself where nothing is
    labeled."""
    distance = cdist(places, candidates)
    return -(weights @ distance) if nearest is None else weights @ np.maximum(nearest[:, None] - distance, 0)


def _parts(places: np.ndarray) -> list[np.ndarray]:
    return [places[first : first + CANDIDATES_AT_ONCE] for first in range(0, len(places), CANDIDATES_AT_ONCE)]


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy in nats over the last axis."""
    return -(probabilities * np.log(probabilities.clip(min=1e-30))).sum(axis=-1)
