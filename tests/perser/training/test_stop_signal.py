from __future__ import annotations

import os
import signal
import time
from multiprocessing import get_context

import pytest

from perser.training import stop_signal
from perser.training.stop_signal import StopSignal


def told(pause: float, same_signal: float) -> None:
    """Two SIGTERM, so far apart."""
    stop_signal.SAME_SIGNAL_SECONDS = same_signal
    stop = StopSignal()
    with stop.watched():
        assert not stop.arrived
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.arrived
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # Python calls the handler between two of its own steps
        os._exit(7)


@pytest.mark.parametrize(
    ("pause", "same_signal", "status"), [(0.0, 60.0, 7), (0.01, 60.0, 7), (0.05, 0.01, -signal.SIGTERM)]
)
def test_a_second_sigterm_ends_the_process_unless_the_launcher_forwarded_it(pause, same_signal, status):
    """As where a cluster tells every process of a job, and their launcher tells them again."""
    process = get_context("fork").Process(target=told, args=(pause, same_signal))
    process.start()
    process.join(timeout=30)
    assert process.exitcode == status
