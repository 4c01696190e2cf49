from pathlib import Path

import pytest

from perser.errors import UserError
from speechlm_icl.model import revisions
from speechlm_icl.model.revisions import check_base, commit_of, portable_name, resolve_name, revision_of


def test_a_folder_is_told_by_what_its_output_depends_on(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = revision_of(str(tmp_path))
    (tmp_path / "README.md").write_text("a word")
    assert revision_of(str(tmp_path)) == first
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert revision_of(str(moved)) == first
    (moved / "model.safetensors").write_bytes(b"Weights")
    assert revision_of(str(moved)) != first


def test_one_file_is_told_by_its_bytes(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    first = revision_of(str(file))
    file.write_bytes(b"another")
    assert revision_of(str(file)) != first


def test_a_model_of_the_hub_is_told_by_the_commit_in_the_local_cache(monkeypatch):
    path = "/cache/models--a--b/snapshots/0123abcd/config.json"
    monkeypatch.setattr(revisions, "try_to_load_from_cache", lambda name, file: path)
    assert revision_of("a/b") == "0123abcd"
    check_base("a/b", "0123abcd", "language model")
    with pytest.raises(UserError, match=r"language model 'a/b' is not the one .*0123abcd instead of 4567"):
        check_base("a/b", "4567", "language model")


@pytest.mark.parametrize("name", ["tiny-whisper", "a/b/c/d", "nobody/nothing"])
def test_what_cannot_be_known_is_let_pass(name):
    assert revision_of(name) is None
    check_base(name, None, "speech encoder")
    check_base(name, "0123", "speech encoder")


def test_only_a_commit_is_asked_of_the_hub():
    assert commit_of("0123") == "0123"
    assert commit_of("sha256:0123") is None
    assert commit_of(None) is None


def test_a_run_at_the_root_of_the_disk_does_not_make_every_path_relative(tmp_path):
    assert portable_name(str(tmp_path), Path("/models/speech-lm")) == str(tmp_path)


def test_names_within_a_run_come_back(tmp_path):
    inside, folder = tmp_path / "run" / "encoder", tmp_path / "run" / "models" / "speech-lm"
    inside.mkdir(parents=True)
    name = portable_name(str(inside), folder)
    assert name == "../../encoder"
    assert resolve_name(name, folder) == str(inside)
    assert resolve_name(portable_name("facebook/hubert", folder), folder) == "facebook/hubert"


def test_a_folder_below_the_home_folder_is_known_by_its_short_name_too(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert revision_of("~/base") == revision_of(str(base)) is not None
    assert portable_name("~/base", tmp_path / "elsewhere" / "models" / "speech-lm") == str(base)
