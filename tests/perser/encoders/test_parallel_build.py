"""Parts of a folder: shared out, each made once, whoever dies meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest

from perser.encoders.parallel_build import build_in_parallel

COUNT = 4


def join(parts, folder):
    (folder / "whole").write_text("".join((part / "text").read_text() for part in parts))


def as_process(monkeypatch, index, count=COUNT):
    launched = SimpleNamespace(process_index=index, num_processes=count)
    monkeypatch.setattr("perser.encoders.parallel_build.processes", lambda: launched)


def worker(folder, index, monkeypatch, die_at=None):
    """One of the processes: notes which parts it made."""
    as_process(monkeypatch, index)

    def write(number, count, part):
        if number == die_at:
            os._exit(1)
        with folder.with_name(f"made-{number}").open("a") as file:
            file.write(str(index))
        time.sleep(0.05)
        (part / "text").write_text(str(number))

    build_in_parallel(folder, write, join)
    assert (folder / "whole").read_text() == "0123"


def started(*given):
    one = multiprocessing.get_context("fork").Process(target=worker, args=given)
    one.start()
    return one


def test_each_part_is_made_once_by_one_of_them(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    workers = [started(folder, index, monkeypatch) for index in range(COUNT)]
    for one in workers:
        one.join(timeout=30)
        assert one.exitcode == 0
    made = [(tmp_path / f"made-{number}").read_text() for number in range(COUNT)]
    assert [len(one) for one in made] == [1] * COUNT
    assert {one.name for one in tmp_path.iterdir()} == {"folder", *(f"made-{one}" for one in range(COUNT))}


def test_the_part_of_one_that_died_is_made_by_another(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    dying = started(folder, 2, monkeypatch, 3)  # after its own part, over the next
    dying.join(timeout=30)
    assert dying.exitcode == 1
    assert not folder.exists()
    worker(folder, 0, monkeypatch)
    assert (tmp_path / "made-2").read_text() == "2", "what is finished is kept"
    assert (tmp_path / "made-3").read_text() == "0"
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_alone_it_leaves_nothing_of_what_failed(tmp_path, monkeypatch):
    as_process(monkeypatch, 0, count=1)

    def fail(number, count, part):
        (part / "text").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_parallel(tmp_path / "folder", fail, join)
    assert list(tmp_path.iterdir()) == []
