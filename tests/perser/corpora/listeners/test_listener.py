"""Each parameter of a simulated listener has its effect on the labels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perser.corpora.listeners.kinds import QUICKSTART, STRONG
from perser.corpora.listeners.listener import Listener, annotate, mean_distribution, response_distribution
from perser.labels import EmotionSet

seeds = st.integers(0, 2**32 - 1)


@st.composite
def vote_tables(draw):
    shape = (draw(st.integers(1, 12)), draw(st.integers(2, 8)))
    counts = draw(arrays(np.int64, shape, elements=st.integers(0, 9)))
    counts[:, 0] += counts.sum(axis=1) == 0
    return counts / counts.sum(axis=1, keepdims=True)


def draw_listener(num_emotions: int, seed: int) -> Listener:
    emotions = EmotionSet(tuple("abcdefgh"[:num_emotions]))
    return QUICKSTART.listeners(1, emotions, np.eye(num_emotions), np.random.default_rng(seed))[0]


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
    plain = Listener("plain", (0.0,) * votes.shape[1], sharpness, breadth=0.0)
    agreement = [
        np.take_along_axis(
            annotate(style, votes, np.random.default_rng(seed)), votes.argmax(axis=1)[:, None], axis=1
        ).mean()
        for style in (plain, replace(plain, sharpness=sharpness + more))
    ]
    assert agreement[0] <= agreement[1]


@given(vote_tables(), seeds)
def test_a_listener_without_a_mind_for_the_clip_answers_all_alike(votes, seed):
    listener = replace(draw_listener(votes.shape[1], seed), lapse=1.0)
    answers = response_distribution(listener, votes)
    np.testing.assert_allclose(answers, 1 / votes.shape[1], atol=1e-12)


def test_a_confusion_renames_what_is_perceived():
    swapped = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    plain = Listener("plain", (0.0,) * 3, sharpness=1.0)
    votes = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    confused = response_distribution(replace(plain, confusion=swapped), votes)
    np.testing.assert_allclose(confused, response_distribution(plain, votes[:, [1, 0, 2]]))


@pytest.mark.parametrize("breadth", [0.0, 0.3, 0.8, 2.0])
@pytest.mark.parametrize("lapse", [0.0, 0.3])
def test_the_response_distribution_is_the_mean_of_many_answers(breadth, lapse):
    """The mean of 200,000 answers, each spread evenly over its labels, is within 4 standard errors."""
    rng = np.random.default_rng(3)
    drawn = STRONG.listeners(1, EmotionSet(tuple("abcde")), rng.dirichlet(np.ones(5), 50), rng)[0]
    listener = replace(drawn, breadth=breadth, lapse=lapse)
    votes = rng.dirichlet(np.full(5, 0.5), size=3)
    times = 200_000
    for row, expected in zip(votes, response_distribution(listener, votes), strict=True):
        labels = annotate(listener, np.tile(row, (times, 1)), rng)
        spread = labels / labels.sum(axis=1, keepdims=True)
        error = spread.std(axis=0) / np.sqrt(times)
        assert (np.abs(spread.mean(axis=0) - expected) < 4 * error + 1e-9).all()


@given(vote_tables(), seeds, st.floats(0, 3))
def test_response_distributions_are_distributions(votes, seed, breadth):
    answers = response_distribution(replace(draw_listener(votes.shape[1], seed), breadth=breadth), votes)
    assert (answers > 0).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1.0)


def test_the_mean_distribution_is_that_of_the_listeners():
    first, second = draw_listener(4, 0), draw_listener(4, 1)
    votes = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    expected = (response_distribution(first, votes) + response_distribution(second, votes)) / 2
    np.testing.assert_allclose(mean_distribution([first, second], votes), expected)


@pytest.mark.parametrize(
    "votes", [np.ones((2, 3)), np.array([[1.5, -0.5, 0.0]]), np.ones((1, 2)) / 2, np.array([0.5, 0.5, 0.0])]
)
def test_votes_must_be_distributions(votes):
    with pytest.raises(ValueError, match="shares"):
        annotate(draw_listener(3, 0), votes, np.random.default_rng(0))
