from __future__ import annotations

import os
import signal
import time
from multiprocessing import get_context

import pytest

from perser.training import stop_signal
from perser.training.stop_signal import StopSignal


def told(pause: float, same_signal: float, number: int = signal.SIGTERM) -> None:
    """Two signals, so far apart."""
    stop_signal.SAME_SIGNAL_SECONDS = same_signal
    stop = StopSignal()
    with stop.watched():
        assert not stop.arrived
        os.kill(os.getpid(), number)
        assert stop.arrived
        time.sleep(pause)
        os.kill(os.getpid(), number)
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


@pytest.mark.parametrize(("pause", "same_signal", "status"), [(0.0, 60.0, 7), (0.05, 0.01, 1)])
def test_a_second_ctrl_c_ends_it_at_once_unless_it_comes_with_the_first(pause, same_signal, status, capfd):
    """A launcher and the terminal both pass the first one on. 1: the process ended by KeyboardInterrupt."""
    process = get_context("fork").Process(target=told, args=(pause, same_signal, signal.SIGINT))
    process.start()
    process.join(timeout=30)
    assert process.exitcode == status
    error = capfd.readouterr().err
    assert "stopping after this step; Ctrl-C again" in error
    assert ("KeyboardInterrupt" in error) == (status == 1)


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = StopSignal()
        with stop.watched():
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.arrived
    finally:
        signal.signal(signal.SIGINT, before)
