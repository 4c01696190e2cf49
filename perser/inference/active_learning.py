"""Which clips of a pool a person should label next: clips that stand for many others, most of all for
those about which the answers are unsure, and that lie far from what is labeled already.

    f(S) = - sum over clips i of the pool of unsure(i) * distance from i to the nearest clip in S or labeled

the k-median of the pool, weighted, maximized greedily. Unlike farthest first, it does not begin with what is
strange. `unsure` is the entropy of one model's answers, or, of several models', how much of the entropy is
their disagreement (Jensen-Shannon divergence; query by committee, Seung et al. 1992).
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

Judge = Recognizer | PersonalRecognizer

View = tuple[str, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
"""Of one clip: its name, and its representation (D,) and answer (num_emotions,), one a judge."""


@dataclass(frozen=True)
class Suggestion:
    """One clip.

    Args:
        path: As it was given, or `clip 3`, counted from 1, for samples.
        unsure: How unsure the answers about it are: 0 to 1.
        distance: To the nearest clip that is labeled or suggested before it, where the pool's clips are 1
            from their mean on average; None for the first where nothing is labeled.
    """

    path: str
    unsure: float
    distance: float | None


@dataclass(frozen=True)
class Views:
    """What the judges make of n clips.

    Args:
        names: Theirs.
        representations: One a judge, (n, D).
        answers: One a judge, (n, num_emotions).
    """

    names: tuple[str, ...]
    representations: tuple[np.ndarray, ...]
    answers: tuple[np.ndarray, ...]


def suggest(
    judges: Sequence[Judge], pool: Sequence[Clip], n: int, labeled: Sequence[Clip] = ()
) -> tuple[list[Suggestion], list[Failure]]:
    """The clips of a pool to be labeled next, the most useful first, and those that cannot be used.

    Args:
        judges: Trained models with the same emotions, unadapted or one person's; one is enough.
        pool: Clips to choose from.
        n: How many, at most all.
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
    return [Suggestion(seen.names[one], float(unsure[one]), distance) for one, distance in chosen], failures


def choose(seen: Views, n: int, known: Views | None = None) -> list[tuple[int, float | None]]:
    """Which of the clips that were seen to label, given those that are labeled: as `representatives`."""
    parts = (seen,) if known is None else (known, seen)
    count = 0 if known is None else len(known.names)
    places = comparable(
        [np.concatenate(one) for one in zip(*(part.representations for part in parts), strict=True)]
    )
    return representatives(places[count:], uncertainty(seen.answers), n, places[:count])


def views(judges: Sequence[Judge], clips: Sequence[Clip]) -> tuple[Views | None, list[Failure]]:
    """What the judges make of clips (None without any), and those that cannot be used."""
    found = list(stream_clips(clips, lambda waveforms: _viewed(judges, waveforms)))
    seen = [one for one in found if not isinstance(one, Failure)]
    failures = [one for one in found if isinstance(one, Failure)]
    if not seen:
        return None, failures
    names, representations, answers = zip(*seen, strict=True)
    by_judge = [tuple(map(np.stack, zip(*one, strict=True))) for one in (representations, answers)]
    return Views(names, *by_judge), failures


def _viewed(judges: Sequence[Judge], waveforms: dict[str, Tensor]) -> list[View]:
    by_judge = [_judged(judge, waveforms) for judge in judges]
    representations, answers = (zip(*rows, strict=True) for rows in zip(*by_judge, strict=True))
    return list(zip(waveforms, representations, answers, strict=True))


def _judged(judge: Judge, waveforms: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    heard, names = judge.model.encode_clips(Waveforms(waveforms)), list(waveforms)
    return judge.model.embed_clips(heard, names), judge.predictor.predict_proba(heard, names)


def uncertainty(answers: Sequence[np.ndarray]) -> np.ndarray:
    """(n,), 0 to 1, from each judge's probabilities (n, C).

    One judge: H(p) / log C. M judges: (H(mean p) - mean H(p)) / log min(M, C), their Jensen-Shannon
    divergence over the most that it can be.
    """
    stacked = np.stack(answers).astype(np.float64)
    judges, _, emotions = stacked.shape
    whole = _entropy(stacked.mean(axis=0))
    if judges == 1:
        return whole / np.log(emotions)
    return np.clip(whole - _entropy(stacked).mean(axis=0), 0, None) / np.log(min(judges, emotions))


def comparable(representations: Sequence[np.ndarray]) -> np.ndarray:
    """Several judges' representations (n, D_m) side by side, each centered and of the same mean square, so
    that none outweighs another: (n, D), rows of mean square norm 1."""
    scaled = []
    for one in representations:
        centered = one.astype(np.float64) - one.mean(axis=0, dtype=np.float64)
        spread = np.sqrt((centered**2).sum(axis=1).mean() * len(representations))
        scaled.append(centered / spread if spread > 0 else centered)
    return np.concatenate(scaled, axis=1)


def representatives(
    places: np.ndarray, weights: np.ndarray, n: int, labeled: np.ndarray
) -> list[tuple[int, float | None]]:
    """Again and again the clip that brings the weighted sum of all clips' distances to the nearest
    labeled or chosen one down the most.

    Args:
        places: Of the clips (num_clips, D).
        weights: Of the clips (num_clips,), at least 0.
        n: How many to choose, at most all.
        labeled: Places of what is labeled already (m, D); m may be 0.

    Returns each chosen clip's index, and how far it was from the nearest when it was chosen, None where
    there was none.
    """
    nearest = cdist(places, labeled).min(axis=1) if len(labeled) else None
    chosen: list[tuple[int, float | None]] = []
    for _ in range(min(n, len(places))):
        gain = np.concatenate([_gain(places, part, weights, nearest) for part in _parts(places)])
        gain[[place for place, _ in chosen]] = -np.inf
        place = int(gain.argmax())
        chosen.append((place, None if nearest is None else float(nearest[place])))
        distance = cdist(places, places[place : place + 1])[:, 0]
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    return chosen


def _gain(
    places: np.ndarray, candidates: np.ndarray, weights: np.ndarray, nearest: np.ndarray | None
) -> np.ndarray:
    """How far each candidate brings the sum down; where nothing is labeled, the sum itself, negative."""
    distance = cdist(places, candidates)
    return -(weights @ distance) if nearest is None else weights @ np.maximum(nearest[:, None] - distance, 0)


def _parts(places: np.ndarray) -> list[np.ndarray]:
    """Some candidates at a time: the distances between all clips of a large pool would fill the memory."""
    return [places[first : first + CANDIDATES_AT_ONCE] for first in range(0, len(places), CANDIDATES_AT_ONCE)]


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """In nats, over the last axis."""
    return -(probabilities * np.log(probabilities.clip(min=1e-30))).sum(axis=-1)
