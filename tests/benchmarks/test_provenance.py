from __future__ import annotations

import subprocess

import torch
from safetensors.torch import save_file

from benchmarks import provenance as module
from benchmarks.provenance import circumstances, commit, one_or_distinct, weights_digests


def test_the_commit_is_that_of_the_checkout():
    commit.cache_clear()
    found = commit()
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode == 0:
        assert found.removesuffix("+changes") == asked.stdout.strip()
    else:
        assert found is None


def test_no_git_is_no_fault(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", missing)
    commit.cache_clear()
    assert commit() is None
    commit.cache_clear()


def test_a_digest_is_of_weights_alone(tmp_path):
    for name, number in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.full((3,), number)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(name)
    (tmp_path / "empty").mkdir()
    found = weights_digests(tmp_path)
    assert set(found) == {"one", "same", "other"}
    assert found["one"] == found["same"] != found["other"]
    assert weights_digests(tmp_path / "nothing") == {}


def test_what_differs_is_listed_once_each():
    assert one_or_distinct([2, 2]) == 2
    assert one_or_distinct([2, None, 2, {"a": 1}, {"a": 1}]) == [2, None, {"a": 1}]


def test_the_record_says_where_and_with_what():
    found = circumstances()
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"]
