from __future__ import annotations

import subprocess

import torch

from perser import environment as module
from perser.environment import describe_environment, git_commit


def test_the_commit_is_that_of_the_checkout():
    git_commit.cache_clear()
    found = git_commit()
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode == 0:
        assert found.removesuffix("+changes") == asked.stdout.strip()
    else:
        assert found is None


def test_a_machine_without_git_has_no_commit(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", missing)
    git_commit.cache_clear()
    assert git_commit() is None
    git_commit.cache_clear()


def test_the_record_has_the_device_and_the_versions():
    found = describe_environment()
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"]
