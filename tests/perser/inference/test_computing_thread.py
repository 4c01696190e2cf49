"""Jobs of all threads run one at a time, in one thread."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest
import torch

from perser.inference.computing_thread import _pauses, compute, cores_for

_name: ContextVar[str] = ContextVar("_name", default="nobody")


def current() -> int:
    """Return the thread that runs this job, which runs another job on the way."""
    assert compute(threading.get_ident) == threading.get_ident()
    return threading.get_ident()


def test_jobs_of_other_threads_share_one_thread_and_the_main_thread_runs_its_own():
    with ThreadPoolExecutor(8) as pool:
        theirs = set(pool.map(lambda _: compute(current), range(40)))
    assert len(theirs) == 1
    assert compute(current) == threading.get_ident() not in theirs


def test_one_job_runs_at_a_time():
    running, most = 0, 0

    def job() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.001)
        running -= 1

    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(compute, job) for _ in range(20)]
        for _ in range(20):
            compute(job)
        for other in others:
            other.result()
    assert most == 1


def test_a_small_model_computes_on_one_core_and_torch_has_as_many_as_before_afterwards():
    def failing() -> None:
        raise ValueError(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert compute(torch.get_num_threads, cores_for(200_000)) == 1
        assert compute(torch.get_num_threads, cores_for(20_000_000)) == 2
        with pytest.raises(ValueError, match=r"^1$"):
            compute(failing, 1)
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(compute, torch.get_num_threads, 1).result() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not _pauses(), reason="torch has no GNU OpenMP here, whose helpers can be ended")
def test_a_job_on_several_cores_ends_the_helpers_that_openmp_gave_it():
    def job() -> int:
        torch.ones(1000, 1000).relu()
        return num_threads()

    before_torch = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with_helpers = job()
        assert compute(job) == with_helpers
        deadline = time.monotonic() + 20
        while num_threads() > with_helpers - 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert num_threads() == with_helpers - 3
        assert job() == with_helpers
    finally:
        torch.set_num_threads(before_torch)


def num_threads() -> int:
    """Return how many threads this process has."""
    return len(list(Path("/proc/self/task").iterdir()))


def test_an_error_and_the_context_reach_the_thread_that_asked():
    def own_error(number: int) -> str:
        _name.set(f"person {number}")

        def job() -> str:
            raise ValueError(_name.get())

        with pytest.raises(ValueError, match="person") as caught:
            compute(job)
        return str(caught.value)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(own_error, range(8))) == [f"person {number}" for number in range(8)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_process_has_a_thread_of_its_own():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(compute, current).result()
    child = multiprocessing.get_context("fork").Process(target=_compute_in_a_thread)
    child.start()
    child.join(20)
    assert child.exitcode == 0


def _compute_in_a_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(compute, current).result(timeout=10)


OUTLIVES_THE_MAIN_THREAD = """
import sys, threading, time, torch
from concurrent.futures import thread
from perser.encoders.feature_cache import _decoded
from perser.inference.computing_thread import compute
from perser.inference.clips import Waveforms

def work():
    while not thread._shutdown:  # that no pool takes further jobs
        time.sleep(0.01)
    answer = compute(lambda: compute(lambda: "answered"))
    batches = [["a"], ["b"], ["c"]]
    clips = Waveforms({name: torch.ones(9) for name in "abc"})
    lengths = [len(waveforms) for _, waveforms in _decoded(clips, batches)]
    sys.stdout.write(f"{answer} {lengths}\\n")

for _ in range(2):
    threading.Thread(target=work).start()
"""


def test_threads_that_outlive_the_main_thread_are_answered():
    command = [sys.executable, "-c", OUTLIVES_THE_MAIN_THREAD]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stderr == ""
    assert ended.stdout == "answered [1, 1, 1]\n" * 2
