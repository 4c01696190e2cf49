"""Realistic and strong listeners are drawn as their documentation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.listeners.kinds import (
    BIAS_STD,
    CONSTRUAL,
    QUICKSTART,
    REALISTIC,
    STRONG,
    ListenerKind,
    confusability,
)
from perser.corpora.listeners.listener import annotate
from perser.corpora.readers.cremad import EMOTIONS
from perser.labels import EmotionSet

SIX = EmotionSet(EMOTIONS)
SHARES = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=500)
kinds = pytest.mark.parametrize(
    "kind", [REALISTIC, STRONG, QUICKSTART], ids=["realistic", "strong", "quickstart"]
)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1), st.sampled_from([REALISTIC, STRONG]))
def test_drawing_more_listeners_keeps_the_first(few, extra, seed, kind: ListenerKind):
    first = kind.listeners(few, SIX, SHARES, np.random.default_rng(seed))
    assert kind.listeners(few + extra, SIX, SHARES, np.random.default_rng(seed))[:few] == first


@kinds
def test_all_listeners_differ(kind: ListenerKind):
    drawn = kind.listeners(60, SIX, SHARES, np.random.default_rng(0))
    assert len({listener.name for listener in drawn}) == len(set(drawn)) == 60


def test_quickstart_listeners_give_somewhat_more_than_one_label():
    rng = np.random.default_rng(0)
    drawn = QUICKSTART.listeners(60, SIX, SHARES, rng)
    labels = np.array([annotate(listener, SHARES, rng).sum(axis=1).mean() for listener in drawn])
    assert 1.1 < labels.mean() < 1.35
    assert labels.std() > 0.1


def test_quickstart_listeners_are_those_of_version_0_1_0():
    """The draws of that version, written out again: a normal bias, then sharpness and breadth."""
    drawn = QUICKSTART.listeners(5, SIX, SHARES, np.random.default_rng(4))
    for listener, rng in zip(drawn, np.random.default_rng(4).spawn(5), strict=True):
        assert listener.bias == tuple(rng.normal(0.0, 1.2, 6).tolist())
        assert (listener.sharpness, listener.breadth) == (rng.uniform(0.6, 1.6), rng.uniform(0.0, 0.8))
        assert (listener.lapse, listener.confusion) == (0.0, None)


def test_strong_listeners_are_the_same_with_a_confusion():
    strong, plain = (
        kind.listeners(40, SIX, SHARES, np.random.default_rng(1)) for kind in (STRONG, QUICKSTART)
    )
    assert [listener.bias for listener in strong] == [listener.bias for listener in plain]
    confusion = np.array([listener.confusion for listener in strong])
    np.testing.assert_allclose(confusion.sum(axis=2), 1.0)
    assert (confusion >= 0).all()
    kept = np.einsum("lcc->lc", confusion)
    assert kept.mean() == pytest.approx(0.6, abs=0.05)


def test_strong_listeners_confuse_what_the_clips_leave_open():
    """Three emotions, of which the first two are never apart: the third is perceived as what it is like."""
    shares = np.array([[0.5, 0.45, 0.05], [0.45, 0.5, 0.05], [0.1, 0.0, 0.9]])
    drawn = STRONG.listeners(200, EmotionSet(("a", "b", "c")), shares, np.random.default_rng(2))
    mean = np.mean([listener.confusion for listener in drawn], axis=0)
    assert mean[0, 1] > 3 * mean[0, 2]
    assert mean[2, 0] > mean[2, 1]


def test_confusability_counts_pairs_who_disagree():
    shares = np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    expected = np.array([[0, 0.25, 0], [0.25, 0, 0.16], [0, 0.16, 0]])
    np.testing.assert_allclose(
        confusability(shares), expected / expected.sum(axis=1, keepdims=True), atol=1e-8
    )
    assert np.isfinite(confusability(np.eye(3))).all()


def test_realistic_listeners_differ_in_one_construal_and_in_reliability():
    drawn = REALISTIC.listeners(2000, SIX, SHARES, np.random.default_rng(0))
    biases = np.array([listener.bias for listener in drawn])
    direction = np.array([CONSTRUAL[emotion] for emotion in EMOTIONS])
    assert np.linalg.matrix_rank(biases, tol=1e-9) == 1
    place = biases @ direction / (direction @ direction)
    assert place.std() == pytest.approx(1.0, abs=0.05)
    assert np.abs(direction).argmax() == EMOTIONS.index("neutral")
    assert all(listener.breadth == 0 and listener.confusion is None for listener in drawn)
    assert 0 < sum(listener.lapse for listener in drawn) < 25  # 8 are expected
    assert biases.std(axis=0).max() < BIAS_STD / 3
