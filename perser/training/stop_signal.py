"""SIGTERM, as a cluster sends it before it takes a machine away: the step under way is finished first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = 128 + signal.SIGTERM

AT_ONCE = 5.0
"""Seconds in which further ones are still the first: a cluster tells every process of a job, and the launcher
of several, which it tells too, passes it on to them."""


class StopSignal:
    """Whether SIGTERM has come. A second one, after `AT_ONCE`, ends the process at once."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def came(self) -> bool:
        return self._since is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice the signal inside; Python lets the main thread alone do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, number: int, frame: object) -> None:
        if self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > AT_ONCE:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
