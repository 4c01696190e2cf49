"""Progress is drawn on a terminal, and is a line a minute in a log."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from perser import progress
from perser.progress import LineLog, progress_bar

MANY_BARS = """
from perser.progress import progress_bar
for cell in range(200):
    with progress_bar(1000, f"cell {cell}") as bar:
        for _ in range(1000):
            bar.update()
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, at a time when no line has been written for long."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(LineLog, "_last", 0.0)
    return clock


def test_bars_together_write_a_line_a_minute_where_there_is_no_terminal(clock, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for name in ("first", "second"):
        with progress_bar(300, name) as bar:
            for _ in range(300):
                clock.now += 1.0
                bar.refresh()
                bar.update()
    lines = log.getvalue().splitlines()
    assert 9 <= len(lines) <= 11
    assert [line.split(":")[0] for line in lines] == sorted(line.split(":")[0] for line in lines)
    assert all("/300" in line for line in lines)
    assert "\r" not in log.getvalue()


def test_a_bar_of_a_few_seconds_writes_nothing_to_a_log(clock, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar(9) as bar:
        for _ in range(9):
            clock.now += 1.0
            bar.refresh()
            bar.update()
    assert log.getvalue() == ""


def test_many_short_bars_write_nothing_to_a_log():
    done = subprocess.run([sys.executable, "-c", MANY_BARS], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_bars_are_drawn_on_a_terminal():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as reader:
        program = subprocess.Popen(
            [sys.executable, "-c", MANY_BARS.replace("200", "1")], stderr=theirs, stdout=subprocess.DEVNULL
        )
        os.close(theirs)
        drawn = b""
        try:
            while part := reader.read(4096):
                drawn += part
        except OSError:  # the other end is closed
            pass
    assert program.wait(timeout=60) == 0
    assert b"cell 0" in drawn
    assert b"1000/1000" in drawn


@pytest.mark.parametrize(("rank", "hidden"), [(None, False), ("0", False), ("1", True)])
def test_one_process_of_a_machine_shows_bars(rank, hidden, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert progress_bar(1).disable == hidden
    assert progress_bar(1, hidden=True).disable
