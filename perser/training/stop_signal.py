"""SIGTERM, which a cluster sends before it takes a machine away: the current step is finished first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_STATUS = 128 + signal.SIGTERM
SAME_SIGNAL_SECONDS = 5.0
"""Further signals within this time count as the first one: a cluster sends it to every process of a job, and
the launcher of several processes, which gets it too, passes it on to them."""


class StopSignal:
    """Whether SIGTERM has arrived. A second one, after `SAME_SIGNAL_SECONDS`, ends the process at once."""

    def __init__(self) -> None:
        self._first: float | None = None

    @property
    def arrived(self) -> bool:
        return self._first is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it, the signal is noticed. Python allows that in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._notice)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _notice(self, number: int, frame: object) -> None:
        if self._first is None:
            self._first = time.monotonic()
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
