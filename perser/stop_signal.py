"""SIGTERM, as a cluster sends it before it takes a machine away: the step under way is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = 128 + signal.SIGTERM


class StopSignal:
    """Whether SIGTERM has come. A second one ends the process at once."""

    def __init__(self) -> None:
        self.came = False

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
        self.came = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
