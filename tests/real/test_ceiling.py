"""What CREMA-D's real votes say of its listeners. Skipped unless a copy lies at ../shared/data/cremad."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ceiling.agreement import measure_agreement
from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.consensus import measure_ceiling
from perser.corpora.readers.cremad import EMOTIONS, read_cremad
from perser.labels import EmotionSet

ROOT = Path(__file__).parents[3] / "shared" / "data" / "cremad"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no copy of CREMA-D at {ROOT}")


@pytest.fixture(scope="module")
def answers() -> Answers:
    listing = read_cremad(ROOT, listeners="votes")
    return Answers.of(listing.annotations, EmotionSet(EMOTIONS), "CREMA-D")


def test_every_vote_is_an_answer(answers: Answers):
    assert answers.num_utterances == 7441
    assert len(answers.utterance) == 68_568 - 10  # without those on the clip that is not there
    assert not answers.is_known.any()


def test_alpha_is_the_published_one(answers: Answers):
    found = measure_agreement(answers)
    assert found["distance"] == "nominal"
    assert found["alpha"]["mean"] == pytest.approx(0.281, abs=0.01)
    assert found["pairwise"]["mean"] == pytest.approx(0.455, abs=0.015)


def test_the_ceiling_is_the_published_one(answers: Answers):
    (ceiling,) = measure_ceiling(answers, (10,)).values()
    assert ceiling["mean"] == pytest.approx(0.727, abs=0.01)
    assert ceiling["low"] <= 0.732
    assert ceiling["high"] >= 0.723
    assert ceiling["naive"] == pytest.approx(0.816, abs=0.01)
