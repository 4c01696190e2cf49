"""Scores files like those of a run, with random figures."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest

from benchmarks.ceiling import measure
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.statistics import EpisodeScores
from perser.corpora.corpus import Corpus

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad")
METHODS = {
    # name: route, macro-F1, its gain from one label to thirty-two, seconds, parameters trained, moved
    "random": ("trivial", 0.15, 0.0, 0.0, 0, 0),
    "nothing": ("trivial", 0.0, 0.0, 0.0, 0, 0),
    "most-frequent": ("trivial", 0.1, 0.0, 0.0, 0, 0),
    "entire-zero": ("meta-perser", 0.36, 0.0, 0.0, 21_000_000, 0),
    "prior-shift": ("meta-perser", 0.38, 0.02, 0.004, 21_000_000, 6),
    "entire-few": ("meta-perser", 0.36, 0.03, 2.2, 21_000_000, 21_000_000),
    "head-few": ("meta-perser", 0.37, 0.03, 0.044, 21_000_000, 5_000),
    "meta-perser": ("meta-perser", 0.36, 0.1, 0.045, 21_000_000, 5_000),
    "speech-lm-0": ("speech-lm", 0.33, 0.0, 0.001, 1_400_000, 0),
    "speech-lm-8": ("speech-lm", 0.39, 0.02, 0.005, 1_400_000, 0),
}


_contents: dict[str, dict] = {}
"""What the annotations of each corpus say, by its fingerprint."""


@pytest.fixture(autouse=True)
def annotations_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the annotations of a toy corpus once, not in each experiment on it: that takes seconds."""

    def measured(corpus: Corpus) -> dict:
        if corpus.fingerprint not in _contents:
            _contents[corpus.fingerprint] = measure_corpus(corpus)
        return deepcopy(_contents[corpus.fingerprint])

    measure_corpus = measure.measure_corpus
    monkeypatch.setattr(measure, "measure_corpus", measured)


SPEAKERS = ("s0", "s1", "s2", "s3")


def _episode(rng: np.random.Generator, person: str, seed: int, level: float, log_loss: bool) -> EpisodeScores:
    ma_f1 = float(np.clip(level + 0.03 * rng.standard_normal(), 0, 1))
    metrics = {"maF1": ma_f1, "miF1": min(1.0, ma_f1 + 0.1), "label_accuracy": 0.7 + ma_f1 / 4}
    metrics |= {"balanced_accuracy": 0.5 + ma_f1 / 3, "brier": 0.9 - ma_f1, "ece": abs(rng.normal(0.1, 0.02))}
    if not log_loss:
        return EpisodeScores(person, f"{person}/{seed}", metrics)
    metrics |= {"log_loss": 2 - 2 * ma_f1, "auroc": 0.5 + ma_f1 / 2, "average_precision": 0.2 + ma_f1 / 2}
    slopes = {name: 0.02 * (place - 1.5) for place, name in enumerate(SPEAKERS)}
    return EpisodeScores(person, f"{person}/{seed}", metrics, {"log_loss": slopes, "maF1": slopes})


def _method(
    rng: np.random.Generator, name: str, persons: dict[str, float], k: int, log_loss: bool
) -> MethodScores:
    route, level, gain, seconds, trained, moved = METHODS[name]
    level += gain * np.log2(k) / 5
    # Each person deviates from the mean by the same amount in all methods, plus a smaller random amount.
    own = {
        person: level + (0.0 if route == "trivial" else shared + 0.02 * rng.standard_normal())
        for person, shared in persons.items()
    }
    episodes = tuple(
        _episode(rng, person, seed, own[person], log_loss) for person in persons for seed in range(2)
    )
    count = rng.integers(1, 60, size=15).astype(float)
    confidence = count * (np.arange(15) + 0.5) / 15
    right = np.minimum(count, np.round(confidence * rng.uniform(0.6, 1.1, size=15)))
    size = len(EMOTIONS)
    return MethodScores(
        method=name,
        route=route,
        adapts={"scope": "head", "steps": 50} if moved == 5_000 else {},
        episodes=episodes,
        seconds_personalize=seconds,
        seconds_predict=0.0001 if route == "speech-lm" else 0.00002,
        parameters={"trained": trained, "moved": moved},
        peak_bytes=None if route == "trivial" else (90 if route == "speech-lm" else 30) * 2**20,
        confusion=(rng.integers(0, 20, size=(size, size)) + 40.0 * np.eye(size)).tolist(),
        reliability=np.stack([count, confidence, right], axis=1).tolist(),
    )


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., Scores]:
    """A function that makes scores: every method of METHODS on two episodes of each person.

    Without `log_loss` they are those of a version before log loss was measured.
    """

    def make(
        k: int = 32,
        axis: str = "listener",
        encoder: str = "tiny-whisper",
        people: int = 12,
        log_loss: bool = False,
    ) -> Scores:
        rng = np.random.default_rng([k, len(axis), people])
        persons = {f"{axis}-{place}": 0.05 * rng.standard_normal() for place in range(people)}
        meta = {
            "corpus": "toy",
            "simulated": True,
            "notes": ["listeners and speech are drawn by chance"],
            "emotions": list(EMOTIONS),
            "q": 64,
            "seeds": [0, 1],
            "limit": None,
            "persons_left_out": {},
            "training_persons": 30,
            "corpus_fingerprint": "3a60f567f16a6d7a50da3d4d65a286da126bb642cdbfa7334448d5cd277de8a8",
            "versions": {"python": "3.11.7", "torch": "2.11.0"},
        }
        origin = {"commit": "0123abc", "device": "A processor", "threads": 2, "versions": meta["versions"]}
        methods = tuple(_method(rng, name, persons, k, log_loss) for name in METHODS)
        return Scores("toy", "unseen", axis, k, encoder, "digest", meta, origin, methods)

    return make
