"""Realistic listeners over CREMA-D's votes have the figures that are published of its real listeners.

Skipped unless a copy lies at ../shared/data/cremad.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.listener_moments import PUBLISHED, draw_answers, moments, read_clips
from perser.corpora.listeners.kinds import REALISTIC
from perser.corpora.readers.cremad import EMOTIONS

ROOT = Path(__file__).parents[3] / "shared" / "data" / "cremad"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no copy of CREMA-D at {ROOT}")

TOLERANCE = {
    "alpha": 0.01,
    "agreement, voice": 0.01,
    "agreement, all": 0.015,
    "true deviation of agreement, all": 0.01,
    "agreement, all, 5th percentile": 0.02,
    "agreement, all, 95th percentile": 0.02,
    "agreement of random halves": 0.02,
    "transfer loss": 0.015,
    "transfer loss, ability removed": 0.015,
    "moved on neutral": 0.02,
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, float]:
    rng = np.random.default_rng(20)
    return moments(draw_answers(REALISTIC, read_clips(ROOT, rng), rng), rng)


@pytest.mark.parametrize("name", TOLERANCE)
def test_a_draw_has_the_published_figure(drawn, name):
    assert drawn[name] == pytest.approx(PUBLISHED[name], abs=TOLERANCE[name])


def test_after_neutral_fear_and_happy_move_most_and_anger_least(drawn):
    moved = {emotion: drawn[f"moved on {emotion}"] for emotion in EMOTIONS}
    order = sorted(moved, key=moved.get, reverse=True)
    assert order[0] == "neutral"
    assert {*order[1:3]} == {"fear", "happy"}
    assert order[-1] == "angry"
    assert min(moved["fear"], moved["happy"]) > 0.03
