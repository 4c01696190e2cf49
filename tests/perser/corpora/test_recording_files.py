"""A recording that changed after its corpus was prepared is noticed; one that was only copied is used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.cli.main import main
from perser.corpora import recording_files
from perser.corpora.corpus import Corpus, fill_corpus, write_corpus
from perser.corpora.listing import Annotation, Listing, Utterance
from perser.corpora.recording_files import TABLE
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import cached_features
from perser.errors import UserError
from perser.io.files import atomic_folder

CHANGED = r"of its 4 recordings, 1 is not what was prepared \(u1.wav\): .*run `perser prepare` again"


def write_noise(file: Path, seed: int, samples: int = 3200) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(samples), 16_000)


def new_listing(root: Path) -> Listing:
    for number in range(4):
        write_noise(root / f"u{number}.wav", number)
    return Listing(
        name="noise",
        emotions=("happy", "sad"),
        audio_root=root,
        utterances=[Utterance(f"u{number}", f"u{number}.wav", "s", "1") for number in range(4)],
        annotations=[Annotation(f"u{number}", "anna", ("sad",)) for number in range(4)],
        source="made by the tests",
        license="none",
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(new_listing(tmp_path / "audio"), tmp_path / "corpus")


def same_length(file: Path) -> None:
    write_noise(file, 9)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


def another_one(file: Path) -> None:
    shutil.copy2(file.with_name("u2.wav"), file)


def no_audio(file: Path) -> None:
    file.write_text("no audio")


@pytest.mark.parametrize("change", [same_length, cut, another_one, no_audio])
def test_a_recording_that_changed_is_noticed_by_every_use(
    change: Callable[[Path], None], corpus: Corpus, tmp_path: Path
):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    cached_features(corpus.recordings, encoder, "pooled", tmp_path / "cache")
    change(tmp_path / "audio" / "u1.wav")
    with pytest.raises(UserError, match=CHANGED):
        Corpus.load(corpus.folder)
    with pytest.raises(UserError, match=CHANGED):
        cached_features(corpus.recordings, encoder, "pooled", tmp_path / "cache")
    with pytest.raises(UserError, match=CHANGED):
        corpus.recordings.waveform("u1")
    assert len(corpus.recordings.waveform("u0")) == 3200


def test_a_corpus_of_changed_recordings_gets_new_features_once_it_is_prepared_again(
    corpus: Corpus, tmp_path: Path
):
    encoder, cache = SpeechEncoder.from_name("tiny-whisper"), tmp_path / "cache"
    before = cached_features(corpus.recordings, encoder, "pooled", cache)["u1"]
    write_noise(tmp_path / "audio" / "u1.wav", 9)
    listing = new_listing(tmp_path / "audio")
    write_noise(tmp_path / "audio" / "u1.wav", 9)
    again = write_corpus(listing, corpus.folder)
    after = cached_features(again.recordings, encoder, "pooled", cache)["u1"]
    assert not np.allclose(before, after)


def test_a_recording_that_was_only_touched_or_copied_is_read_once_more(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for file in (tmp_path / "audio").iterdir():
        os.utime(file, (1, 1))
    read = []
    digest = recording_files.digest_file
    monkeypatch.setattr(recording_files, "digest_file", lambda path: read.append(path) or digest(path))
    assert Corpus.load(corpus.folder).fingerprint == corpus.fingerprint
    assert len(read) == 4
    Corpus.load(corpus.folder)
    assert len(read) == 4


def test_a_corpus_that_cannot_be_written_is_still_used(corpus: Corpus, tmp_path: Path, monkeypatch):
    os.utime(tmp_path / "audio" / "u1.wav", (1, 1))

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(recording_files, "write_recording_files", read_only)
    assert Corpus.load(corpus.folder).fingerprint == corpus.fingerprint


def test_a_missing_recording_is_noticed_when_it_is_read(corpus: Corpus, tmp_path: Path):
    (tmp_path / "audio" / "u1.wav").unlink()
    loaded = Corpus.load(corpus.folder)
    with pytest.raises(UserError, match=r"u1.wav: missing"):
        loaded.recordings.waveform("u1")


def test_recordings_inside_the_corpus_are_compared_too(tmp_path: Path):
    with atomic_folder(tmp_path / "corpus", "corpus.json") as folder:
        fill_corpus(new_listing(folder / "audio"), folder)
    shutil.copytree(tmp_path / "corpus", tmp_path / "copy", copy_function=shutil.copyfile)
    assert len(Corpus.load(tmp_path / "copy").utterances) == 4
    write_noise(tmp_path / "copy" / "audio" / "u1.wav", 9)
    with pytest.raises(UserError, match=CHANGED):
        Corpus.load(tmp_path / "copy")


def test_a_corpus_without_a_table_is_compared_by_its_card(corpus: Corpus, tmp_path: Path):
    table = corpus.folder / TABLE
    table.unlink()  # as version 0.1.0 prepared it
    assert Corpus.load(corpus.folder).fingerprint == corpus.fingerprint
    assert table.is_file()
    table.unlink()
    write_noise(tmp_path / "audio" / "u1.wav", 9)
    with pytest.raises(UserError, match="are not those that were prepared"):
        Corpus.load(corpus.folder)


@pytest.mark.parametrize("damage", ["cut", "a digest", "another corpus's"])
def test_a_damaged_table_of_recordings_is_refused(damage: str, corpus: Corpus, tmp_path: Path):
    table = corpus.folder / TABLE
    content = table.read_bytes()
    if damage == "cut":
        table.write_bytes(content[:200])
    elif damage == "a digest":
        digest = bytes.fromhex(corpus.recordings.contents()["u1"])
        table.write_bytes(content.replace(digest, bytes(32)))
    else:
        listing = new_listing(tmp_path / "audio2")
        write_noise(tmp_path / "audio2" / "u1.wav", 9)
        shutil.copy(write_corpus(listing, tmp_path / "other").folder / TABLE, table)
    with pytest.raises(UserError, match=rf"{TABLE} is damaged .*run `perser prepare` again"):
        Corpus.load(corpus.folder)


def test_the_table_of_a_corpus_without_one_has_the_content_of_each_recording(corpus: Corpus):
    expected = corpus.recordings.contents()
    assert len(set(expected.values())) == 4
    (corpus.folder / TABLE).unlink()
    assert Corpus.load(corpus.folder).recordings.contents() == expected


def check(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = 0
    try:
        main(["prepare", *arguments])
    except SystemExit as end:
        status = end.code
    streams = capsys.readouterr()
    return status, streams.out + streams.err


def test_prepare_check_reads_every_file(corpus: Corpus, tmp_path: Path, capsys):
    folder = str(corpus.folder)
    for arguments in (("--check", folder), (folder, "--check"), ("--check", "--out", folder)):
        assert check(*arguments, capsys=capsys) == (0, f"{folder}: all 4 recordings are what was prepared\n")
    file = tmp_path / "audio" / "u1.wav"
    status = file.stat()
    write_noise(file, 9)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # unnoticed by size and time
    (tmp_path / "audio" / "u2.wav").unlink()
    code, message = check("--check", folder, capsys=capsys)
    assert code == 2
    assert "1 is not what was prepared (u1.wav) and 1 is missing or cannot be read (u2.wav)" in message
    assert message.count("\n") == 1
