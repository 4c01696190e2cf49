"""The truth about simulated listeners is kept in the prepared corpus."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from perser.corpora.corpus import Corpus
from perser.corpora.listeners.kinds import STRONG
from perser.corpora.listeners.truth import TRUTH, ListenerTruth, load_truth
from perser.errors import UserError
from perser.labels import EmotionSet


def test_what_is_saved_is_loaded(tmp_path):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 5)
    drawn = STRONG.listeners(3, EmotionSet(tuple("abcd")), shares, rng)
    truth = ListenerTruth(
        "strong", {listener.name: listener for listener in drawn}, dict(zip("vwxyz", shares, strict=True))
    )
    truth.save(tmp_path)
    loaded = load_truth(tmp_path, 4)
    assert (loaded.kind, loaded.listeners) == ("strong", truth.listeners)
    np.testing.assert_array_equal(loaded.shares_of("zv"), shares[[4, 0]])


def test_a_prepared_corpus_of_simulated_listeners_holds_it(toy_corpus: Corpus):
    truth = load_truth(toy_corpus.folder, 4)
    assert {row.listener for row in toy_corpus.annotations} == {*truth.listeners}
    assert {*toy_corpus.utterances} == {*truth.shares}


def test_a_corpus_without_it_loads(toy_corpus: Corpus, tmp_path):
    """As corpora of real listeners and those of version 0.1.0."""
    folder = tmp_path / "corpus"
    shutil.copytree(toy_corpus.folder, folder)
    (folder / TRUTH).unlink()
    digests = json.loads((folder / "checksums.json").read_text())
    del digests[TRUTH]
    (folder / "checksums.json").write_text(json.dumps(digests))
    assert load_truth(folder, 4) is None
    Corpus.load(folder)


def test_a_truth_that_has_changed_is_noticed_by_its_checksum(toy_corpus: Corpus, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(toy_corpus.folder, folder)
    (folder / TRUTH).write_text("{}")
    with pytest.raises(UserError, match=r"truth\.json is damaged"):
        Corpus.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("kind"),
        lambda content: content["listeners"][0].update(bias=[0.0]),
        lambda content: content["listeners"][0].update(sharpness=float("nan")),
        lambda content: content["listeners"][0].update(lapse=1.5),
        lambda content: content["listeners"][0].update(confusion=[[1.0, 0.0, 0.0, 0.0]]),
        lambda content: content.update(listeners={"a": 1}),
        lambda content: content["shares"].update(more=[0.5, 0.5, 0.5, 0.5]),
        lambda content: content["shares"].update(more=[float("nan")] * 4),
    ],
)
def test_a_damaged_truth_is_refused(toy_corpus: Corpus, tmp_path, change):
    content = json.loads((toy_corpus.folder / TRUTH).read_text())
    change(content)
    (tmp_path / TRUTH).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"truth\.json is damaged .*: run `perser prepare` again"):
        load_truth(tmp_path, 4)
