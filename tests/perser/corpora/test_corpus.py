from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.corpora.corpus import Corpus, _rows_sha256, fill_corpus, write_corpus
from perser.corpora.listing import Annotation, LeftOut, Listing, Utterance
from perser.errors import UserError
from perser.io.checksums import json_sha256
from perser.io.files import atomic_folder

from .readers.tones import write_tone


def listing_of(folder: Path, clips: int = 4) -> Listing:
    """`clips` recordings of two speakers, each labeled by two listeners."""
    names = [f"u{number:02d}" for number in range(clips)]
    for number, name in enumerate(names):
        write_tone(folder / f"{name}.wav", pitch=200 + 10 * number, seconds=0.2 + 0.01 * number)
    return Listing(
        name="small",
        emotions=("happy", "sad"),
        audio_root=folder,
        utterances=[
            Utterance(name, f"{name}.wav", f"s{number % 2}", "1", f"text {number}")
            for number, name in enumerate(names)
        ],
        annotations=[
            Annotation(name, listener, emotions)
            for name in names
            for listener, emotions in (("anna", ("happy",)), ("bo", ("sad", "happy")))
        ],
        source="tests",
        license="none",
    )


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    return listing_of(tmp_path / "audio")


def test_the_loaded_corpus_equals_the_listing(listing: Listing, tmp_path: Path):
    write_corpus(listing, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert list(corpus.utterances.values()) == listing.utterances
    assert corpus.annotations == listing.annotations
    assert corpus.emotions.names == ("happy", "sad")
    assert (corpus.name, corpus.simulated) == ("small", False)
    assert corpus.card["counts"] == {
        "utterances": 4,
        "speakers": 2,
        "sessions": 1,
        "listeners": 2,
        "annotations": 8,
        "left_out": 0,
    }
    assert corpus.card["left_out"] == []


def test_recordings_hold_no_labels(listing: Listing, tmp_path: Path):
    recordings = write_corpus(listing, tmp_path / "out").recordings
    assert recordings.utterance_ids == ["u00", "u01", "u02", "u03"]
    for number, name in enumerate(recordings.utterance_ids):
        assert recordings.duration(name) == pytest.approx(0.2 + 0.01 * number)
        assert len(recordings.waveform(name)) == round(16_000 * recordings.duration(name))
    stored = json.dumps({name: repr(value) for name, value in vars(recordings).items()})
    assert not any(word in stored for word in ("happy", "sad", "anna", "bo"))


def test_bad_recordings_are_left_out_by_name_with_their_annotations(tmp_path: Path):
    listing = listing_of(tmp_path / "audio", clips=40)
    (tmp_path / "audio" / "u03.wav").write_bytes(b"")
    (tmp_path / "audio" / "u07.wav").write_bytes(b"not audio at all")
    corpus = write_corpus(listing, tmp_path / "out")
    assert corpus.card["left_out"] == [
        ["u03.wav", "empty"],
        ["u07.wav", corpus.card["left_out"][1][1]],
    ]
    assert corpus.card["left_out"][1][1].startswith("unreadable")
    assert len(corpus.utterances) == 38
    assert {annotation.utterance_id for annotation in corpus.annotations} == set(corpus.utterances)


def test_more_than_a_twentieth_bad_is_an_error_unless_allowed(listing: Listing, tmp_path: Path):
    soundfile.write(tmp_path / "audio" / "u01.wav", np.zeros(4000), 16_000)
    with pytest.raises(UserError, match=r"1 of 4 recordings are bad \(u01.wav: silent\).*--allow_skips"):
        write_corpus(listing, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(write_corpus(listing, tmp_path / "out", allow_skips=True).utterances) == 3


def test_nothing_usable_is_an_error_even_if_skips_are_allowed(listing: Listing, tmp_path: Path):
    shutil.rmtree(tmp_path / "audio")
    with pytest.raises(UserError, match=r"nothing of small can be used, for example u03.wav: missing"):
        write_corpus(listing, tmp_path / "out", allow_skips=True)


def test_mismatched_utterances_and_annotations_are_named(listing: Listing, tmp_path: Path):
    listing.utterances.append(Utterance("lonely", "u00.wav", "s0", "1"))
    listing.utterances.append(Utterance("u01", "u00.wav", "s0", "1"))
    listing.annotations.append(Annotation("ghost", "anna", ("sad",)))
    listing.annotations.append(Annotation("u00", "anna", ("sad",)))
    listing.left_out.append(LeftOut("table.csv:7", "torn"))
    corpus = write_corpus(listing, tmp_path / "out")
    assert corpus.card["left_out"] == [
        ["table.csv:7", "torn"],
        ["u00.wav", "its id u01 is that of u01.wav"],
        ["ghost", "annotated, but there is no recording"],
        ["lonely", "nobody annotated it"],
    ]
    assert corpus.card["dropped"] == {"repeated annotations": 1}
    assert corpus.annotations[0].emotions == ("happy",)


def test_an_annotation_outside_the_emotion_set_is_refused(listing: Listing, tmp_path: Path):
    listing.annotations[0] = Annotation("u00", "anna", ("cross",))
    with pytest.raises(UserError, match="unknown emotion 'cross'"):
        write_corpus(listing, tmp_path / "out")


def test_fingerprints_do_not_depend_on_place_or_order(listing: Listing, tmp_path: Path):
    first = write_corpus(listing, tmp_path / "out")
    elsewhere = listing_of(tmp_path / "another" / "place")
    random.Random(0).shuffle(elsewhere.utterances)
    random.Random(1).shuffle(elsewhere.annotations)
    second = write_corpus(elsewhere, tmp_path / "out2")
    assert second.fingerprint == first.fingerprint
    assert second.recordings.fingerprint == first.recordings.fingerprint


@pytest.mark.parametrize("change", ["label", "speaker", "emotions"])
def test_a_changed_label_changes_one_fingerprint(change: str, listing: Listing, tmp_path: Path):
    first = write_corpus(listing, tmp_path / "out")
    if change == "label":
        listing.annotations[0] = Annotation("u00", "anna", ("sad",))
    elif change == "speaker":
        listing.utterances[0] = replace(listing.utterances[0], speaker="s1")
    else:
        listing.emotions = ("sad", "happy")
    second = write_corpus(listing, tmp_path / "out")
    assert second.fingerprint != first.fingerprint
    assert second.recordings.fingerprint == first.recordings.fingerprint


def test_changed_audio_changes_both_fingerprints(listing: Listing, tmp_path: Path):
    first = write_corpus(listing, tmp_path / "out")
    write_tone(tmp_path / "audio" / "u00.wav", pitch=900)
    second = write_corpus(listing, tmp_path / "out")
    assert second.recordings.fingerprint != first.recordings.fingerprint
    assert second.fingerprint != first.fingerprint


def test_audio_inside_the_corpus_moves_with_it(tmp_path: Path):
    with atomic_folder(tmp_path / "out", "corpus.json") as folder:
        fill_corpus(listing_of(folder / "audio"), folder)
    (tmp_path / "out").rename(tmp_path / "moved")
    corpus = Corpus.load(tmp_path / "moved")
    assert corpus.card["audio_root"] == "audio"
    assert corpus.recordings.path("u00") == tmp_path / "moved" / "audio" / "u00.wav"
    assert len(corpus.recordings.waveform("u00")) == 3200


def test_a_failure_leaves_the_old_corpus(listing: Listing, tmp_path: Path):
    first = write_corpus(listing, tmp_path / "out")
    shutil.rmtree(tmp_path / "audio")
    with pytest.raises(UserError):
        write_corpus(listing, tmp_path / "out")
    assert Corpus.load(tmp_path / "out").fingerprint == first.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_folder_of_another_kind_is_not_touched(listing: Listing, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match="give another output folder"):
        write_corpus(listing, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "all of it"


def test_the_error_for_missing_audio_says_what_to_do(listing: Listing, tmp_path: Path):
    corpus = write_corpus(listing, tmp_path / "out")
    (tmp_path / "audio" / "u00.wav").unlink()
    with pytest.raises(UserError, match=r"u00.wav: missing; put the file back or run `perser prepare` again"):
        corpus.recordings.waveform("u00")


def test_the_error_for_a_bad_folder_says_why(listing: Listing, tmp_path: Path):
    with pytest.raises(UserError, match="is not a prepared corpus"):
        Corpus.load(tmp_path)
    out = write_corpus(listing, tmp_path / "out").folder
    card = (out / "corpus.json").read_text()
    (out / "corpus.json").write_text(card[:50])
    with pytest.raises(UserError, match="is damaged"):
        Corpus.load(out)
    (out / "corpus.json").write_text(card.replace("perser-corpus-1", "perser-corpus-0"))
    with pytest.raises(UserError, match="prepared by another version"):
        Corpus.load(out)
    (out / "corpus.json").write_text(card)
    shutil.rmtree(out / "annotations")
    with pytest.raises(UserError, match="is damaged"):
        Corpus.load(out)


def test_rows_are_digested_like_the_complete_list(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("perser.corpora.corpus.ROWS_AT_ONCE", 3)
    for first in range(8):
        tables = [[[str(row), ["é"]] for row in range(count)] for count in (first, 7 - first)]
        assert _rows_sha256(["a", ("b",)], *tables) == json_sha256(["a", ("b",), *tables])


def test_a_file_of_several_utterances_is_checked_once(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read = []
    monkeypatch.setattr(
        "perser.corpora.corpus.load_audio", lambda path, _: read.append(path) or np.ones(1600)
    )
    listing.utterances = [replace(row, audio="u00.wav") for row in listing.utterances]
    assert len(write_corpus(listing, tmp_path / "out").utterances) == 4
    assert len(read) == 1


@pytest.mark.parametrize("missing", ["counts", "fingerprint", "audio_root", "left_out"])
def test_a_card_without_a_required_field_is_damaged(missing: str, listing: Listing, tmp_path: Path):
    folder = write_corpus(listing, tmp_path / "out").folder
    card = json.loads((folder / "corpus.json").read_text())
    del card[missing]
    (folder / "corpus.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=rf"corpus.json is damaged \({missing}\)"):
        Corpus.load(folder)
