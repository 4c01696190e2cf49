"""Two corpora are compared by what is in their recordings and by who speaks and listens in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.corpora.content import TRAINED_ON, Content, load_contents, save_contents, without_repeats
from perser.corpora.corpus import write_corpus
from perser.corpora.listing import INTENDED, UNKNOWN_SPEAKER, Annotation, Listing, Utterance
from perser.errors import UserError


def content_of(folder: Path, speaker: str, listener: str, seed: int, suffix: str = "wav") -> Content:
    """Return the content of a corpus of two recordings of noise."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    names = [f"{folder.name}-{number}.{suffix}" for number in range(2)]
    for name in names:
        samples = (3000 * rng.standard_normal(3200)).astype(np.int16)
        soundfile.write(folder / name, samples, 16_000, "PCM_16")
    listing = Listing(
        name="noise",
        emotions=("happy", "sad"),
        audio_root=folder,
        utterances=[Utterance(name, name, speaker, "1") for name in names],
        annotations=[Annotation(name, listener, ("sad",)) for name in names],
        source="made by the tests",
        license="none",
    )
    return Content.of_all(write_corpus(listing, folder / "corpus"))


@pytest.fixture
def trained(tmp_path: Path) -> Content:
    """The content of a training, as it is read from a model's folder."""
    save_contents([content_of(tmp_path / "trained", "anna", "ben", seed=0)], tmp_path)
    (content,) = load_contents(tmp_path)
    return content


def test_other_recordings_of_other_people_share_nothing(trained: Content, tmp_path: Path):
    assert content_of(tmp_path / "own", "cid", "dora", seed=1).shared_with(trained) == ""


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_copy_under_another_name_or_format_is_the_same_recording(
    suffix: str, trained: Content, tmp_path: Path
):
    own = content_of(tmp_path / "own", "cid", "dora", seed=0, suffix=suffix)
    assert own.shared_with(trained) == f"the recording own-0.{suffix} and 1 more"


def test_the_same_name_is_taken_for_the_same_person(trained: Content, tmp_path: Path):
    speaks = content_of(tmp_path / "speaks", "anna", "dora", seed=1)
    assert speaks.shared_with(trained).startswith("the speaker anna (if it is another person")
    listens = content_of(tmp_path / "listens", "cid", "ben", seed=2)
    assert listens.shared_with(trained).startswith("the listener ben")


def test_persons_of_two_published_corpora_are_different_ones(trained: Content, tmp_path: Path):
    own = content_of(tmp_path / "own", "anna", "ben", seed=1)
    first, second = replace(trained, namespace="ravdess"), replace(own, namespace="emodb")
    assert second.shared_with(first) == ""
    assert second.shared_with(second).startswith("the recording")
    assert own.shared_with(first).startswith("the speaker anna")


def test_names_that_stand_for_nobody_are_not_compared(tmp_path: Path):
    first = content_of(tmp_path / "first", UNKNOWN_SPEAKER, INTENDED, seed=0)
    assert content_of(tmp_path / "second", UNKNOWN_SPEAKER, INTENDED, seed=1).shared_with(first) == ""


def test_a_saved_content_names_no_one(trained: Content, tmp_path: Path):
    text = (tmp_path / TRAINED_ON).read_text()
    assert "anna" not in text
    assert "ben" not in text
    assert without_repeats([trained, trained]) == [trained]


def test_a_damaged_record_of_a_training_is_refused(trained: Content, tmp_path: Path):
    file = tmp_path / TRAINED_ON
    intact = file.read_text()
    digest = next(iter(trained.recordings))
    for damaged in (intact[:50], intact.replace(digest, "0" * 16), "[]", "{}", ""):
        file.write_text(damaged)
        with pytest.raises(UserError, match=rf"{TRAINED_ON} is damaged .*train it again"):
            load_contents(tmp_path)
    file.unlink()
    assert load_contents(tmp_path) is None
    assert load_contents("tiny-whisper") is None
