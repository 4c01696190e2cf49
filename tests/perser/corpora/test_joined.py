"""Corpora that are joined into one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.cli.join import join
from perser.cli.prepare import prepare
from perser.corpora.content import contents_by_part
from perser.corpora.corpus import Corpus
from perser.corpora.joined import person_weights, utterances_by_part
from perser.episodes.episode import tasks_of
from perser.errors import UserError


def prepared(
    folder: Path, people: list[str], emotions: list[str], seed: int, listener: str = "everyone"
) -> Path:
    """Write and prepare a corpus of two clips an emotion and person."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / "table.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "speaker", "listener", "emotions"])
        for person in people:
            for emotion in emotions:
                for number in range(2):
                    audio = folder / f"{person}-{emotion}-{number}.wav"
                    soundfile.write(audio, 0.1 * rng.standard_normal(4800), 16_000)
                    rows.writerow([audio.name, person, listener, emotion])
    prepare("manifest", folder / "corpus", root=folder / "table.csv")
    return folder / "corpus"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("corpora")
    return {
        "one": prepared(top / "one", ["a", "b"], ["angry", "sad"], 0, "l1"),
        "two": prepared(top / "two", ["c", "d", "e"], ["sad", "bored"], 1, "l2"),
        "alike": prepared(top / "alike", ["b", "f"], ["sad", "bored"], 2, "l3"),
    }


@pytest.fixture(scope="module")
def joined(folders, tmp_path_factory) -> Corpus:
    out = tmp_path_factory.mktemp("joined") / "corpus"
    join([folders["one"], folders["two"]], out, [3, 1])
    return Corpus.load(out)


def test_emotions_are_united_by_name_in_their_order(joined):
    assert joined.emotions.names == ("angry", "sad", "bored")


def test_every_utterance_keeps_its_recording_and_its_labels(joined, folders):
    for name in ("one", "two"):
        part = Corpus.load(folders[name])
        for key, row in part.utterances.items():
            new = joined.utterances[f"{name}/{key}"]
            assert (new.speaker, new.text) == (f"{name}/{row.speaker}", row.text)
            assert joined.recordings.path(f"{name}/{key}") == part.recordings.path(key).absolute()
            assert joined.recordings.waveform(f"{name}/{key}").equal(part.recordings.waveform(key))
        labels = {row.utterance_id: row.emotions for row in part.annotations}
        assert {
            row.utterance_id.partition("/")[2]: row.emotions
            for row in joined.annotations
            if row.utterance_id.startswith(f"{name}/")
        } == labels
    assert len(joined.utterances) == 2 * 2 * 2 + 3 * 2 * 2


def test_persons_share_the_weight_of_their_corpus(joined):
    persons = list(tasks_of(joined, "speaker"))
    weights = dict(zip(persons, person_weights(joined, persons), strict=True))
    assert weights["one/a"] == weights["one/b"] == pytest.approx(3 / 4 / 2)
    assert weights["two/c"] == pytest.approx(1 / 4 / 3)
    assert sum(weights.values()) == pytest.approx(1)


def test_a_corpus_that_was_not_joined_has_no_weights_and_is_one_part(folders):
    corpus = Corpus.load(folders["one"])
    assert person_weights(corpus, ["a", "b"]) is None
    assert utterances_by_part(corpus, corpus.utterances) == {corpus.name: list(corpus.utterances)}


def test_what_a_model_met_is_recorded_for_each_corpus_with_its_own_names(joined, folders):
    contents = contents_by_part(joined, joined.utterances, {row.listener for row in joined.annotations})
    assert [content.corpus for content in contents] == ["one", "two"]
    for content, name in zip(contents, ("one", "two"), strict=True):
        part = Corpus.load(folders[name])
        (own,) = contents_by_part(part, part.utterances, {row.listener for row in part.annotations})
        assert content.recordings.keys() == own.recordings.keys()
        assert content.speakers == own.speakers
        assert content.listeners == own.listeners
        assert own.shared_with(content)


def test_a_weight_is_part_of_what_a_training_is_known_by(joined, folders, tmp_path):
    join([folders["one"], folders["two"]], tmp_path / "again", [3, 1])
    join([folders["one"], folders["two"]], tmp_path / "other", [1, 1])
    assert Corpus.load(tmp_path / "again").fingerprint == joined.fingerprint
    assert Corpus.load(tmp_path / "other").fingerprint != joined.fingerprint


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["one"], None, "1 given, give at least two"),
        (["one", "one"], None, "the same recordings: leave one out"),
        (["one", "alike"], None, r"have the speaker b .* in common"),
        (["one", "two"], [1.0], "weights: 1 for 2 corpora"),
        (["one", "two"], [1.0, 0.0], r"weight: 0.0, give a number above 0"),
        (["one", "nowhere"], None, "nowhere is not a prepared corpus"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(names, weights, message, folders, tmp_path):
    chosen = [folders.get(name, tmp_path / name) for name in names]
    with pytest.raises(UserError, match=message) as caught:
        join(chosen, tmp_path / "out", weights)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_joined_corpus_is_not_joined_again(joined, folders, tmp_path):
    with pytest.raises(UserError, match="is a joined corpus: give its parts"):
        join([joined.folder, folders["alike"]], tmp_path / "out")


def test_a_corpus_that_is_joined_is_not_replaced(folders):
    before = Corpus.load(folders["one"]).fingerprint
    with pytest.raises(UserError, match=r"out: .* is one of the corpora, which is still needed"):
        join([folders["one"], folders["two"]], folders["one"])
    assert Corpus.load(folders["one"]).fingerprint == before
