"""Expressions, deliveries and votes of simulated speakers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perser.corpora.simulated_speakers import (
    AXES,
    LOUDNESS_STEP,
    PITCH_STEP,
    PROTOTYPES,
    RANGE_STEP,
    RATE_STEP,
    draw_expressions,
    draw_speaker,
    vote_shares,
)

# The loudest speaker (volume 46) reaches eSpeak's limit of 100 at 1.69 steps of loudness.
expressions = arrays(np.float64, (len(AXES),), elements=st.floats(-1.6, 1.6))


@given(st.lists(expressions, min_size=1, max_size=5))
def test_votes_are_distributions(points):
    votes = vote_shares(np.stack(points))
    np.testing.assert_allclose(votes.sum(axis=1), 1.0)
    assert (votes > 0).all()


def test_most_but_not_all_votes_for_a_prototype_are_for_its_emotion():
    votes = vote_shares(np.array(list(PROTOTYPES.values())))
    np.testing.assert_array_equal(votes.argmax(axis=1), np.arange(len(PROTOTYPES)))
    assert (votes.max(axis=1) < 0.9).all()


def test_emotions_differ_in_more_than_loudness():
    without = np.array(list(PROTOTYPES.values()))[:, :3]
    distances = np.linalg.norm(without[:, None] - without[None], axis=-1)
    assert distances[~np.eye(len(without), dtype=bool)].min() > 1


@given(expressions, st.integers(0, 30))
def test_a_delivery_expresses_the_intended_point(expression, index):
    speaker = draw_speaker(index, np.random.default_rng(index))
    delivery = speaker.deliver(expression)
    expressed = speaker.expressed(delivery)
    # eSpeak takes whole numbers: half a unit of each, in steps of its axis.
    half_a_unit = np.array(
        [
            0.5 / PITCH_STEP,
            0.5 / RANGE_STEP,
            -np.log1p(-0.5 / delivery.rate) / RATE_STEP,
            -np.log1p(-0.5 / delivery.volume) / LOUDNESS_STEP,
        ]
    )
    assert (np.abs(expressed - expression) <= half_a_unit + 1e-9).all()


@given(expressions)
def test_the_expression_respects_the_limits_of_espeak(expression):
    speaker = draw_speaker(0, np.random.default_rng(0))
    expression[0] = 20
    delivery = speaker.deliver(expression)
    assert delivery.pitch == 99
    assert speaker.expressed(delivery)[0] == pytest.approx((99 - speaker.neutral.pitch) / PITCH_STEP)


def test_speakers_differ():
    speakers = [draw_speaker(index, np.random.default_rng(index)) for index in range(12)]
    assert len({speaker.neutral for speaker in speakers}) == 12
    assert np.std([speaker.prototypes for speaker in speakers], axis=0).mean() > 0.2
    attempts = draw_expressions(speakers[0], 200, np.random.default_rng(0))
    np.testing.assert_allclose(attempts.mean(axis=0), speakers[0].prototypes, atol=0.15)
    assert attempts.std(axis=0).min() > 0.2
