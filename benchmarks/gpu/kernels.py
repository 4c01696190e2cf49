"""Say where a GPU's time goes in a run: its share of the run, and the kernels that take most of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.findings import Seen
from benchmarks.speed.timing.rounds import seconds

SHOWN = 5
"""How many kernels are named."""

NAME_LENGTH = 60


def kernel_times(run: Callable[[], object], device: torch.device) -> Seen:
    """Return what a profile of one run shows, after a run that warms up.

    If the kernels take much less than the run does, the GPU waits for the program: fewer or larger kernels
    help. If not, the kernels that are named do.
    """
    run()
    taken = seconds(run, device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        seconds(run, device)
    kernels = [event for event in profiler.key_averages() if event.device_type == DeviceType.CUDA]
    kernels.sort(key=lambda event: event.self_device_time_total, reverse=True)
    busy = sum(event.self_device_time_total for event in kernels) / 1e6
    count = sum(event.count for event in kernels)
    text = f"{taken:.3g} s, of which {count} kernels take {busy:.3g} s"
    for event in kernels[:SHOWN]:
        share = event.self_device_time_total / 1e6 / busy
        text += f"; {share:.0%} {event.count} x {event.key[:NAME_LENGTH]}"
    return Seen(text, {"seconds": taken, "kernel_seconds": busy, "kernels": count})
