"""Workers take over tasks, and whatever happens to a worker, every task is done or its error is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import task_sharing as module
from benchmarks.task_sharing import run_with_workers, useful_workers
from perser.errors import UserError

from . import shared_tasks

TITLES = ["first", "second", "third"]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """A worker finds modules where this process does: make that the case for the tests too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def ran_by(folder):
    """Return the lines that each task wrote: the process and its threads."""
    return {path.name: path.read_text().split("\n")[:-1] for path in folder.iterdir()}


def test_a_worker_takes_a_task_and_each_is_done_once(tmp_path, capsys):
    run_with_workers(partial(shared_tasks.note, tmp_path), TITLES, workers=1)
    ran = ran_by(tmp_path)
    assert sorted(ran) == ["0", "1", "2"]
    assert all(len(lines) == 1 for lines in ran.values())
    own, threads = f"{os.getpid()}", f"{torch.get_num_threads()}"
    assert ran["0"] == [f"{own} {threads}"]
    pid, threads_of_worker = ran["1"][0].split()
    assert pid != own
    assert threads_of_worker == threads


def test_without_workers_all_is_done_here_in_order():
    done = []
    run_with_workers(done.append, TITLES, workers=0)
    run_with_workers(done.append, TITLES[:1], workers=3)
    run_with_workers(done.append, [], workers=3)
    assert done == [0, 1, 2, 0]


def test_the_tasks_of_a_worker_that_dies_are_done_here(tmp_path):
    run_with_workers(partial(shared_tasks.fail_in_worker, tmp_path, os.getpid()), TITLES, workers=1)
    ran = ran_by(tmp_path)
    assert [line.split()[0] == str(os.getpid()) for line in ran["1"]] == [False, True]
    assert len(ran["0"]) == len(ran["2"]) == 1


def test_an_error_in_a_worker_is_shown_as_one_here(tmp_path):
    with pytest.raises(UserError, match="the second one is wrong"):
        run_with_workers(partial(shared_tasks.refuse, tmp_path), TITLES[:2], workers=1)


def test_a_task_that_cannot_be_sent_is_done_here():
    done = []
    run_with_workers(lambda number: done.append(number), TITLES, workers=1)
    assert done == [0, 1, 2]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_the_process_that_started_it(sent, tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks.shared_tasks", str(tmp_path)]
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        wait_until(lambda: all((tmp_path / f"pid-{number}").exists() for number in (0, 1)))
        pids = [int((tmp_path / f"pid-{number}").read_text()) for number in (0, 1)]
        assert len(set(pids)) == 2
    finally:
        run.send_signal(sent)
        run.wait()
    wait_until(lambda: not any(map(is_running, pids)))


def wait_until(reached, seconds=120):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("wanted", "threads", "cores", "expected"),
    [(1, 1, 2, 1), (1, 1, 1, 0), (1, 2, 2, 0), (3, 2, 8, 3), (9, 2, 8, 3), (1, None, 64, 0), (0, 1, 64, 0)],
)
def test_task_sharing_get_cores_of_their_own(wanted, threads, cores, expected, monkeypatch):
    monkeypatch.setattr(module, "num_cores", lambda: cores)
    assert useful_workers(wanted, threads) == expected


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(UserError, match="workers: -1"):
        useful_workers(-1, 1)
