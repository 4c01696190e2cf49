"""Processes that build a folder together build each shard once, also if one of them dies."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock

from perser.encoders import parallel_build
from perser.encoders.parallel_build import build_in_parallel

COUNT = 4


def join(shards, folder):
    (folder / "complete").write_text("".join((shard / "text").read_text() for shard in shards))


def act_as_process(monkeypatch, index, count=COUNT):
    launched = SimpleNamespace(process_index=index, num_processes=count)
    monkeypatch.setattr(parallel_build, "processes", lambda: launched)


def work(folder, index, monkeypatch, die_at=None):
    """Act as one of the processes, and note in `built-<number>` which shards it built."""
    act_as_process(monkeypatch, index)

    def write(number, count, shard):
        if number == die_at:
            os._exit(1)
        with folder.with_name(f"built-{number}").open("a") as file:
            file.write(str(index))
        time.sleep(0.05)
        (shard / "text").write_text(str(number))

    build_in_parallel(folder, write, join)
    assert (folder / "complete").read_text() == "0123"


def start(*arguments):
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def test_each_shard_is_built_once_by_one_process(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    workers = [start(folder, index, monkeypatch) for index in range(COUNT)]
    for process in workers:
        process.join(timeout=30)
        assert process.exitcode == 0
    builders = [(tmp_path / f"built-{number}").read_text() for number in range(COUNT)]
    assert [len(indices) for indices in builders] == [1] * COUNT
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"folder", *(f"built-{number}" for number in range(COUNT))}


def test_the_shard_of_a_process_that_died_is_built_by_another(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    dying = start(folder, 2, monkeypatch, 3)  # it builds its own shard and dies at the next
    dying.join(timeout=30)
    assert dying.exitcode == 1
    assert not folder.exists()
    work(folder, 0, monkeypatch)
    assert (tmp_path / "built-2").read_text() == "2", "a finished shard is used"
    assert (tmp_path / "built-3").read_text() == "0"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_with_one_process_leaves_nothing(tmp_path, monkeypatch):
    act_as_process(monkeypatch, 0, count=1)

    def fail(number, count, shard):
        (shard / "text").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_parallel(tmp_path / "folder", fail, join)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), OSError(errno.ENOSYS, "no flock")])
def test_a_file_system_without_locks_still_works(error, tmp_path, monkeypatch):
    def refuse(self, **options):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    work(tmp_path / "folder", 1, monkeypatch)
    assert (tmp_path / "built-0").read_text() == "1"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
