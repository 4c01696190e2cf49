"""The one walk over folders, and that every command which takes a folder uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perser.audio import AUDIO_SUFFIXES
from perser.cli.main import main
from perser.corpora.corpus import Corpus
from perser.corpora.readers.cremad import read_cremad
from perser.errors import UserError
from perser.inference.clips import clip_paths
from perser.installed_routes import find_models
from perser.io import folders
from perser.io.folders import audio_files, walk


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(folder: Path, pattern: str = "**/*") -> list[str]:
    return [path.relative_to(folder).as_posix() for path in audio_files(folder, pattern)]


def test_hidden_files_are_left_out_and_a_folder_named_like_a_recording_is_walked(tmp_path):
    write(tmp_path, "b.wav", "a/c.FLAC", "notes.txt", "a/wav", "take.wav/d.oga", "take.wav/e.sph")
    write(tmp_path, "a/._c.flac", "__MACOSX/a/d.wav", ".hidden/e.wav", "a/__MACOSX/._b.wav", "a/.wav")
    assert found(tmp_path) == ["a/c.FLAC", "b.wav", "take.wav/d.oga", "take.wav/e.sph"]
    assert found(tmp_path, "*") == ["b.wav"]
    assert found(tmp_path / ".hidden") == ["e.wav"], "a hidden folder that is named is walked"


def test_patterns_choose_by_folder(tmp_path):
    write(
        tmp_path,
        "x.wav",
        "Actor_01/x.wav",
        "Actor_02/deep/x.wav",
        "Other/x.wav",
        "0001/x.wav",
        "0001/a/x.wav",
    )
    assert found(tmp_path, "Actor_*/*") == ["Actor_01/x.wav"]
    assert found(tmp_path, "[0-9]" * 4 + "/**/*") == ["0001/a/x.wav", "0001/x.wav"]
    assert found(tmp_path, "*/deep/*") == ["Actor_02/deep/x.wav"]
    assert found(tmp_path / "nowhere") == []


def test_links_to_folders_are_followed_once_and_never_upwards(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    write(corpus, "real/a.wav")
    write(tmp_path, "elsewhere/b.wav", "elsewhere/deep/c.wav", "beside.wav")
    for link, target in (
        ("a-link-to-a-folder-in-it", "real"),
        ("outside", "../elsewhere"),
        ("outside-again", "../elsewhere/deep"),
        ("itself", "."),
        ("upwards", ".."),
        ("root", "/"),
        ("real/back", "../real"),
        ("circle", "circle"),
        ("gone", "nowhere"),
    ):
        (corpus / link).symlink_to(target)
    (corpus / "gone.wav").symlink_to("nowhere.wav")
    (corpus / "linked.wav").symlink_to("../beside.wav")
    assert found(corpus) == ["gone.wav", "linked.wav", "outside/b.wav", "outside/deep/c.wav", "real/a.wav"]
    said = capsys.readouterr().err
    assert said == f"perser: {corpus}: 2 links to a folder that holds it skipped: root, upwards\n"
    assert found(corpus / "real") == ["a.wav"]
    assert not capsys.readouterr().err, "a link to the folder itself loses nothing"
    (tmp_path / "door").symlink_to("corpus")
    assert found(tmp_path / "door") == found(corpus)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, "a.wav", "locked/b.wav")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot read the folder .*locked: Permission denied"):
        walk(tmp_path)


def test_prepare_predict_and_suggest_take_the_same_files(tmp_path, capsys):
    folder = tmp_path / "AudioWAV"
    sentences = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
    names = [f"1001_{sentence}_{emotion}_XX" for emotion in ("ANG", "HAP") for sentence in sentences]
    for name, suffix in zip(names, [*sorted(AUDIO_SUFFIXES), ".txt", ".csv"], strict=False):
        write(folder, f"{name}{suffix}")
    write(folder, f"._{names[0]}.wav", f"__MACOSX/{names[1]}.wav")
    (folder / names[-1]).with_suffix(".wav").mkdir()
    prepared = [folder / utterance.audio for utterance in read_cremad(tmp_path, "intended").utterances]
    assert prepared == clip_paths([folder])
    assert {path.suffix for path in prepared} == AUDIO_SUFFIXES


def test_models_are_found_through_links_and_not_in_hidden_folders(tmp_path):
    for name in ("disk/ssl-e", "runs/.half-written"):
        write(tmp_path, f"{name}/recogniser.safetensors")
        (tmp_path / name / "meta_perser.json").write_text(json.dumps({"emotions": ["angry", "sad"]}))
    (tmp_path / "runs" / "models").symlink_to("../disk")
    assert [path for path, _ in find_models(tmp_path / "runs")] == [tmp_path / "runs/models/ssl-e"]


def test_a_corpus_of_linked_folders_is_prepared(tmp_path, write_clip, capsys):
    for number, emotion in enumerate(("ANG", "HAP", "SAD")):
        write_clip(f"disk/1001_DFA_{emotion}_XX.wav", number)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "AudioWAV").symlink_to("../disk")
    options = ["--root", str(tmp_path / "corpus"), "--out", str(tmp_path / "out"), "--listeners", "intended"]
    main(["prepare", "cremad", *options])
    assert len(Corpus.load(tmp_path / "out").recordings.utterance_ids) == 3
