"""Each parameter of a simulated listener has its effect on the labels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perser.corpora.simulated_listeners import ListenerStyle, annotate, draw_listeners

seeds = st.integers(0, 2**32 - 1)


@st.composite
def vote_tables(draw):
    shape = (draw(st.integers(1, 12)), draw(st.integers(2, 8)))
    counts = draw(arrays(np.int64, shape, elements=st.integers(0, 9)))
    counts[:, 0] += counts.sum(axis=1) == 0
    return counts / counts.sum(axis=1, keepdims=True)


def draw_listener(num_emotions: int, seed: int) -> ListenerStyle:
    return draw_listeners(1, num_emotions, np.random.default_rng(seed))[0]


@given(vote_tables(), seeds)
def test_every_response_has_a_label(votes, seed):
    labels = annotate(draw_listener(votes.shape[1], seed), votes, np.random.default_rng(seed))
    assert labels.dtype == bool
    assert labels.shape == votes.shape
    assert labels.any(axis=1).all()


@given(vote_tables(), seeds)
def test_breadth_0_gives_one_label_and_more_breadth_only_adds_labels(votes, seed):
    style = draw_listener(votes.shape[1], seed)
    single, some, more = (
        annotate(replace(style, breadth=breadth), votes, np.random.default_rng(seed))
        for breadth in (0.0, 0.7, 2.0)
    )
    assert (single.sum(axis=1) == 1).all()
    assert (single <= some).all()
    assert (some <= more).all()


@given(vote_tables(), seeds, st.floats(0, 5))
def test_bias_raises_the_rate_of_its_label(votes, seed, push):
    style = draw_listener(votes.shape[1], seed)
    pushed = replace(style, bias=(style.bias[0] + push, *style.bias[1:]))
    before = annotate(style, votes, np.random.default_rng(seed))
    after = annotate(pushed, votes, np.random.default_rng(seed))
    assert (before[:, 0] <= after[:, 0]).all()


@given(vote_tables(), seeds, st.floats(0, 2), st.floats(0, 2))
def test_sharpness_raises_agreement_with_the_votes(votes, seed, sharpness, more):
    plain = ListenerStyle("plain", (0.0,) * votes.shape[1], sharpness, breadth=0.0)
    agreement = [
        np.take_along_axis(
            annotate(style, votes, np.random.default_rng(seed)), votes.argmax(axis=1)[:, None], axis=1
        ).mean()
        for style in (plain, replace(plain, sharpness=sharpness + more))
    ]
    assert agreement[0] <= agreement[1]


@given(st.integers(0, 6), st.integers(0, 6), seeds)
def test_drawing_more_listeners_keeps_the_first(few, extra, seed):
    first = draw_listeners(few, 6, np.random.default_rng(seed))
    assert draw_listeners(few + extra, 6, np.random.default_rng(seed))[:few] == first


def test_listeners_differ_and_give_somewhat_more_than_one_label():
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.full(6, 0.5), size=500)
    styles = draw_listeners(60, 6, rng)
    assert len({style.name for style in styles}) == len(set(styles)) == 60
    labels_a_response = np.array([annotate(style, votes, rng).sum(axis=1).mean() for style in styles])
    assert 1.1 < labels_a_response.mean() < 1.35
    assert labels_a_response.std() > 0.1


@pytest.mark.parametrize(
    "votes", [np.ones((2, 3)), np.array([[1.5, -0.5, 0.0]]), np.ones((1, 2)) / 2, np.array([0.5, 0.5, 0.0])]
)
def test_votes_must_be_distributions(votes):
    with pytest.raises(ValueError, match="votes"):
        annotate(draw_listener(3, 0), votes, np.random.default_rng(0))
