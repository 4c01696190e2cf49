"""`--processes N`: what is checked before anything is launched, and how a launch ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from perser.cli.command import Command
from perser.cli.main import main, run_command
from perser.cli.parser import parse_command
from perser.training import launch as processes

PROGRAM = """
import os, sys, time
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.errors import UserError

def work(task: str) -> None:
    rank, size, threads = (os.environ[name] for name in ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS"))
    print(f"process {rank} of {size} {threads}\\n", end="", flush=True)  # one write: both use one pipe
    if task == "fail":
        raise UserError("corpus: it is not there")
    if task == "crash":
        os.kill(os.getpid(), 9)
    if task == "wait":
        time.sleep(300)

if __name__ == "__main__":
    run_command(Command(work, processes=True))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that starts a program in two processes."""
    (tmp_path / "worker.py").write_text(PROGRAM)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def start(task: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "worker", f"--task={task}", "--processes", "2"]
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment["PYTHONPATH"] = paths
        return subprocess.Popen(words, env=environment, text=True, cwd=tmp_path, **pipes)

    return start


def test_both_processes_run_and_share_the_processor(start):
    done = start("work")
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    threads = max(1, (os.cpu_count() or 1) // 2)
    assert sorted(out.splitlines()) == [f"process {rank} of 2 {threads}" for rank in (0, 1)]


def test_an_error_is_one_line_and_its_status_is_kept(start):
    done = start("fail")
    _, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (2, "perser: error: corpus: it is not there\n")


def test_a_process_that_is_killed_ends_all(start):
    done = start("crash")
    done.communicate(timeout=120)
    assert done.returncode == 128 + signal.SIGKILL


def test_a_signal_ends_all(start):
    done = start("wait")
    ready = [done.stdout.readline(), done.stdout.readline()]
    assert all(line.startswith("process") for line in ready)
    started = time.monotonic()
    done.send_signal(signal.SIGTERM)
    done.communicate(timeout=120)
    assert done.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - started < 60


def test_options_are_checked_before_anything_is_launched(monkeypatch, capsys):
    monkeypatch.setattr("perser.cli.main.launch", lambda *words: pytest.fail("launched"))
    needed = ["--corpus", "c", "--episodes", "e", "--out", "o"]
    for options, message in (
        (["--processes", "0"], "processes: 0, give at least 1"),
        (["--processes", "two"], "processes: 'two'"),
        (["--processes", "2", "--stepz", "1"], "stepz"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["icl-train", *needed, *options])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_one_process_is_not_launched_and_neither_is_one_of_a_launch(monkeypatch):
    seen = []

    def work(task: str = "x") -> None:
        seen.append(task)

    monkeypatch.setattr("perser.cli.main.launch", lambda *words: seen.append(words))
    command = Command(work, processes=True)
    assert parse_command(command, ["--processes", "3"]) == {"task": "x", "processes": 3}
    monkeypatch.setattr(sys, "argv", ["work", "--task", "alone"])
    run_command(command)
    monkeypatch.setattr(sys, "argv", ["work", "--processes", "2"])
    run_command(command)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(sys, "argv", ["work", "--processes=2", "--task=launched"])
    run_command(command)
    assert seen == ["alone", (work.__module__, ["--processes", "2"], 2), "launched"]


def test_only_the_first_process_of_a_launch_speaks_at_once(monkeypatch):
    waits = []
    monkeypatch.setattr(processes.time, "sleep", waits.append)
    monkeypatch.setenv(processes.LAUNCHED, "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        processes.let_first_process_speak()
    monkeypatch.delenv(processes.LAUNCHED)
    processes.let_first_process_speak()
    assert waits == [processes.OTHERS_SPEAK_AFTER]
