from pathlib import Path

import pytest

from perser.errors import UserError
from speechlm_icl.model import revisions
from speechlm_icl.model.revisions import check_revision, commit_of, portable_name, resolve_name, revision_of


def test_the_revision_of_a_folder_depends_on_the_files_of_the_model_only(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = revision_of(str(tmp_path))
    (tmp_path / "README.md").write_text("a word")
    assert revision_of(str(tmp_path)) == first
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert revision_of(str(moved)) == first
    (moved / "model.safetensors").write_bytes(b"Weights")
    assert revision_of(str(moved)) != first


def test_the_revision_of_a_file_depends_on_its_content(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"a model")
    first = revision_of(str(file))
    file.write_bytes(b"another model")
    assert revision_of(str(file)) != first


def test_the_revision_of_a_hub_name_is_the_commit_in_the_local_cache(monkeypatch):
    path = "/cache/models--a--b/snapshots/0123abcd/config.json"
    monkeypatch.setattr(revisions, "try_to_load_from_cache", lambda name, file: path)
    assert revision_of("a/b") == "0123abcd"
    check_revision("a/b", "0123abcd", "language model")
    with pytest.raises(UserError, match=r"language model 'a/b' is not the one .*0123abcd instead of 4567"):
        check_revision("a/b", "4567", "language model")


@pytest.mark.parametrize("name", ["tiny-whisper", "a/b/c/d", "nobody/nothing"])
def test_unknown_revisions_pass(name):
    assert revision_of(name) is None
    check_revision(name, None, "speech encoder")
    check_revision(name, "0123", "speech encoder")


def test_a_commit_is_distinguished_from_a_sha256():
    assert commit_of("0123") == "0123"
    assert commit_of("sha256:0123") is None
    assert commit_of(None) is None


def test_paths_stay_absolute_where_the_run_folder_would_be_the_root_of_the_disk(tmp_path):
    assert portable_name(str(tmp_path), Path("/models/speech-lm")) == str(tmp_path)


def test_portable_names_within_a_run_resolve_to_the_same_path(tmp_path):
    inside, folder = tmp_path / "run" / "encoder", tmp_path / "run" / "models" / "speech-lm"
    inside.mkdir(parents=True)
    name = portable_name(str(inside), folder)
    assert name == "../../encoder"
    assert resolve_name(name, folder) == str(inside)
    assert resolve_name(portable_name("facebook/hubert", folder), folder) == "facebook/hubert"


def test_a_tilde_in_a_name_is_expanded(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert revision_of("~/base") == revision_of(str(base)) is not None
    assert portable_name("~/base", tmp_path / "elsewhere" / "models" / "speech-lm") == str(base)
