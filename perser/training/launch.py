"""Run a command in several processes of this machine: what `--processes N` does, by torchrun."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence

from perser.errors import UserError

LAUNCHED = "PERSER_PROCESSES"
"""The variable that the processes of a launch find set."""

OTHERS_SPEAK_AFTER = 3.0
"""Seconds that the first process of a launch has to say what is wrong; torchrun then ends the others."""


def check_processes(processes: int) -> int:
    """Return how many processes were asked for. Raises UserError for none."""
    if processes < 1:
        raise UserError(f"processes: {processes}, give at least 1")
    return processes


def is_launched() -> bool:
    """Return whether this is one process of a launch, by `launch`, torchrun or accelerate."""
    return "RANK" in os.environ


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Run the command of a module in several processes, and end with the status of the first that fails.

    Each is on a GPU of its own, or on the CPU where this machine has no GPU.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ[LAUNCHED] = str(processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    # The command itself says what is wrong.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    words = ["--standalone", f"--nproc_per_node={processes}", "-m", module, *arguments]
    try:
        run(parse_args(words))
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        raise SystemExit(status if status >= 0 else 128 - status) from None
    except SignalException as stopped:
        raise SystemExit(128 + stopped.sigval) from None


def let_first_process_speak() -> None:
    """Wait in the other processes of a launch, so that what is wrong is printed once."""
    if LAUNCHED in os.environ and os.environ.get("RANK", "0") != "0":
        time.sleep(OTHERS_SPEAK_AFTER)
