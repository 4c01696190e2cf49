"""Digests of files, JSON values and tensors, and the checksums of folders."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from perser.errors import UserError
from perser.io.checksums import (
    CHECKSUMS,
    file_sha256,
    json_sha256,
    tensors_sha256,
    verify_checksums,
    weights_sha256,
    write_checksums,
)


def test_the_digest_of_a_file_follows_its_content(tmp_path):
    file = tmp_path / "weights"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        os.utime(file, ns=(0, len(content) + content[0]))  # two writes may fall into one tick of the clock
        assert file_sha256(file) == hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A folder with checksums of two of its three files."""
    (tmp_path / "encoder").mkdir()
    for name in ("config.json", "encoder/weights.bin", "notes.txt"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path, ("config.json", "encoder/*"))
    return tmp_path


def test_checksums_are_sha256_by_name(folder):
    assert json.loads((folder / CHECKSUMS).read_text()) == {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("config.json", "encoder/weights.bin")
    }


def test_files_without_checksums_may_change(folder):
    (folder / "notes.txt").write_text("changed")
    verify_checksums(folder)
    (folder / CHECKSUMS).unlink()
    (folder / "config.json").write_text("changed")
    verify_checksums(folder)


def test_a_changed_or_missing_file_is_named_with_the_remedy(folder):
    file = folder / "encoder" / "weights.bin"
    file.write_text("encoder/weights.bim")
    with pytest.raises(
        UserError, match=r"weights\.bin is damaged.*: train it again .*delete checksums\.json"
    ):
        verify_checksums(folder, "train it again")
    file.unlink()
    with pytest.raises(UserError, match=r"the file encoder/weights\.bin is missing: train it again"):
        verify_checksums(folder, "train it again")


@pytest.mark.parametrize("content", ["", "[]", '{"../other": "0"}', '{"/etc/passwd": "0"}'])
def test_damaged_checksums_are_refused(folder, content):
    (folder / CHECKSUMS).write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        verify_checksums(folder)


def test_the_digest_of_weights_depends_on_all_safetensors_files(tmp_path):
    assert weights_sha256(tmp_path) is None
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_file({"weight": np.zeros(2)}, tmp_path / name / "model.safetensors")
    before = weights_sha256(tmp_path)
    save_file({"weight": np.ones(2)}, tmp_path / "b" / "model.safetensors")
    assert weights_sha256(tmp_path) != before


def test_the_digest_of_json_is_that_of_its_text():
    value = {"b": [1, "é"], "a": None}
    assert json_sha256(value) == hashlib.sha256(json.dumps(value).encode()).hexdigest()
    assert json_sha256(value, sort_keys=True) == json_sha256({"a": None, "b": [1, "é"]})


def test_the_digest_of_tensors_is_the_documented_one():
    """Saved profiles hold such digests, so their definition must not change."""
    tensors = {"b": torch.ones(2, 3).T, "a": torch.tensor(7, dtype=torch.int64)}
    expected = hashlib.sha256(b"settings")
    expected.update(b"a torch.int64 ()" + np.int64(7).tobytes())
    expected.update(b"b torch.float32 (3, 2)" + np.ones((3, 2), dtype=np.float32).tobytes())
    assert tensors_sha256("settings", tensors) == expected.hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        {"weight": torch.tensor([1.0, 2.5])},
        {"weight": torch.tensor([[1.0, 2.0]])},
        {"weight": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {"bias": torch.tensor([1.0, 2.0])},
    ],
)
def test_the_digest_of_tensors_follows_names_types_shapes_and_values(changed):
    before = tensors_sha256("", {"weight": torch.tensor([1.0, 2.0])})
    assert tensors_sha256("", changed) != before
    assert tensors_sha256("other", {"weight": torch.tensor([1.0, 2.0])}) != before
