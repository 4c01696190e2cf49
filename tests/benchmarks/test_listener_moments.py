"""The figures by which realistic listeners are compared with those of CREMA-D."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.listener_moments import Clips, ConditionAnswers, draw_answers, mass_moved, moments
from perser.corpora.listeners.kinds import REALISTIC, ListenerKind
from perser.corpora.listeners.listener import Listener
from perser.corpora.listeners.shares import CREMAD_VOICE
from perser.corpora.readers.cremad import EMOTIONS


def test_agreement_is_with_the_others_and_ties_count_in_part():
    # Clip 0: answers 0, 0, 1. Clip 1: answers 2, 3.
    answers = ConditionAnswers(
        np.array([0, 1, 2, 0, 1]),
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 0, 1, 2, 3]),
        np.zeros(2, dtype=int),
    )
    assert answers.agreement().tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    assert answers.agreement_by_listener().tolist() == [0.25, 0.25, 0.0]
    assert answers.transfer(np.array([True, False, False])) == pytest.approx((0.5 + 0) / 2)


def test_mass_moved_is_the_difference_of_two_halves():
    profiles = np.zeros((2, 2, 2))
    profiles[0] = [[9, 1], [5, 5]]
    profiles[1] = [[7, 3], [4, 6]]
    np.testing.assert_allclose(mass_moved(profiles, np.array([True, False])), [0.15, 0.15])


def conditions(rng: np.random.Generator) -> list[Clips]:
    """Clips as the published answers to the voice suggest, in place of each condition."""
    meant = np.arange(3000) % len(EMOTIONS)
    return [Clips(CREMAD_VOICE.draw(np.zeros((3000, len(EMOTIONS))), meant, rng), meant) for _ in range(3)]


def test_realistic_listeners_over_clips_like_the_published_ones_have_the_published_figures():
    """No vote of a clip is needed for this: what is published of the answers is the prior. Real votes are
    used in tests/real/test_cremad_listeners.py."""
    rng = np.random.default_rng(11)
    drawn = moments(draw_answers(REALISTIC, conditions(rng), rng, count=1000), rng)
    assert drawn["alpha"] == pytest.approx(0.265, abs=0.02)
    assert drawn["agreement, voice"] == pytest.approx(0.559, abs=0.02)
    assert drawn["true deviation of agreement, all"] == pytest.approx(0.07, abs=0.015)
    assert drawn["transfer loss"] == pytest.approx(0.063, abs=0.025)
    assert drawn["transfer loss, ability removed"] == pytest.approx(0.048, abs=0.025)
    moved = {emotion: drawn[f"moved on {emotion}"] for emotion in EMOTIONS}
    assert max(moved, key=moved.get) == "neutral"
    assert min(moved, key=moved.get) == "angry"


def test_identical_listeners_differ_by_chance_alone():
    rng = np.random.default_rng(12)
    alike = ListenerKind("alike", lambda name, emotions, common, rng: Listener(name, (0.0,) * 6, 0.59))
    drawn = moments(draw_answers(alike, conditions(rng), rng, count=1000), rng)
    assert drawn["true deviation of agreement, all"] < 0.03
    assert drawn["moved on neutral"] < 0.06
