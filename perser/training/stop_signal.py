"""SIGTERM, which a cluster sends before it takes a machine away, Ctrl-C, and SIGHUP of a terminal that is
closed: the current step is finished first."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_STATUS = 128 + signal.SIGTERM
IGNORABLE = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
"""Signals that a training ignores where its parent does: a shell ignores SIGINT for a job in the background,
and nohup SIGHUP. Windows has no SIGHUP."""
SAME_SIGNAL_SECONDS = 5.0
"""Further signals within this time count as the first one: a cluster sends it to every process of a job, and
the launcher of several processes, which gets it too, passes it on to them."""


class StopSignal:
    """Whether one of the signals has arrived. A second one, after `SAME_SIGNAL_SECONDS`, ends the process at
    once."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._number = signal.SIGTERM

    @property
    def arrived(self) -> bool:
        return self._first is not None

    @property
    def exit_status(self) -> int:
        """The status of a program that the signal ends: 129 for SIGHUP, 130 for Ctrl-C, and 143 for SIGTERM,
        also where only another process got it."""
        return 128 + self._number

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it, the signals are noticed. Python allows that in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in IGNORABLE if signal.getsignal(number) != signal.SIG_IGN]
        numbers = [signal.SIGTERM, *heard]
        before = {number: signal.signal(number, self._notice) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _notice(self, number: int, frame: object) -> None:
        if self._first is None:
            self._first = time.monotonic()
            self._number = signal.Signals(number)
            if number == signal.SIGINT:
                wait = f"{SAME_SIGNAL_SECONDS:.0f} seconds"
                _say(f"perser: stopping after this step; Ctrl-C again after {wait} stops at once")
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _say(message: str) -> None:
    """Write a line on standard error, also where a signal arrives while something else is written to it."""
    try:
        os.write(sys.stderr.fileno(), f"\n{message}\n".encode())
    except (OSError, ValueError, AttributeError):  # it is closed, or not a file
        return
