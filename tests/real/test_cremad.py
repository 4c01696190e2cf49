"""The real CREMA-D. Skipped unless a copy lies at ../shared/data/cremad."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from perser.corpora.corpus import write_corpus
from perser.corpora.listing import Listing
from perser.corpora.readers.cremad import EMOTIONS, read_cremad
from perser.errors import UserError

ROOT = Path(__file__).parents[3] / "shared" / "data" / "cremad"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no copy of CREMA-D at {ROOT}")


@pytest.fixture(scope="module")
def simulated() -> Listing:
    return read_cremad(ROOT, listeners="simulated:2")


def test_every_clip_is_listed(simulated: Listing):
    assert len(simulated.utterances) == 7442
    assert len({row.speaker for row in simulated.utterances}) == 91
    assert all(row.text for row in simulated.utterances)


def test_every_clip_but_one_has_votes(simulated: Listing):
    """One clip's name lacks a letter in the responses, in the published corpus too."""
    counts = Counter(row.listener for row in simulated.annotations)
    assert counts == {"sim-000": 7441, "sim-001": 7441}
    assert [left_out.what.split()[-1] for left_out in simulated.left_out] == ["(1040_ITH_SAD_XX)"]
    annotated = {row.utterance_id for row in simulated.annotations}
    assert {row.utterance_id for row in simulated.utterances} - annotated == {"1040_ITH_SAD_X"}


def test_acted_emotions_are_as_published():
    acted = Counter(row.emotions[0] for row in read_cremad(ROOT, listeners="intended").annotations)
    assert acted == {emotion: 1087 if emotion == "neutral" else 1271 for emotion in EMOTIONS}


def test_without_the_responses_an_error_says_which_option_to_give():
    if (ROOT / "finishedResponses.csv").is_file():
        pytest.skip("this copy has the responses")
    with pytest.raises(UserError, match="give --listeners simulated:N"):
        read_cremad(ROOT)


def test_some_clips_are_prepared(simulated: Listing, tmp_path: Path):
    some = replace(simulated, utterances=simulated.utterances[::300])
    ids = {row.utterance_id for row in some.utterances}
    some.annotations = [row for row in some.annotations if row.utterance_id in ids]
    corpus = write_corpus(some, tmp_path / "out")
    assert set(corpus.utterances) == ids
    assert all(1 < corpus.recordings.duration(utterance) < 6 for utterance in ids)
    first = min(ids)
    assert len(corpus.recordings.waveform(first)) == round(16_000 * corpus.recordings.duration(first))
