"""Set the precision of a GPU's products, and say how well a measured run used the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.findings import Seen, Settings
from benchmarks.speed.timing.comparison import Timing
from benchmarks.speed.timing.machine import matrix_rate
from benchmarks.speed.timing.rounds import Precision, seconds

SHOWN = 5
"""How many kernels are named."""

NAME_LENGTH = 60


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Within the block, float32 products and convolutions on a GPU round as `precision` says.

    With `tf32` they round to TF32, with any other precision they do not.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def seen_in(timing: Timing, settings: Settings, precision: Precision, targets: dict[str, float]) -> Seen:
    """Say what a comparison measured: ratios, our seconds, utilization, and the distance from the floor.

    Utilization is the rate that our run reached over that of one large matrix product, measured here; the
    floor is the time that its operations would take at that rate.

    Args:
        timing: the comparison.
        settings: of the run.
        precision: of the products.
        targets: what each ratio has to be at least, on a GPU.
    """
    if not settings.has_gpu:
        agrees = " and agrees with " + ", ".join(timing.agreement) if timing.agreement else ""
        return Seen(f"runs{agrees}; its figures need a GPU")
    own = timing.ours
    floor = own.operations / matrix_rate(torch.device(settings.device), precision)
    figures = {
        **timing.ratios,
        "seconds": own.seconds,
        "utilization": floor / own.seconds,
        "times_the_floor": own.seconds / floor,
    }
    figures |= {f"distance from {name}": far for name, far in timing.agreement.items()}
    low = [name for name, ratio in timing.ratios.items() if ratio < targets.get(name, 0.0)]
    ratios = ", ".join(f"{name} {ratio:.3g}" for name, ratio in timing.ratios.items())
    text = f"{timing.title}: {ratios}; ours {own.seconds:.3g} s, {floor / own.seconds:.1%} of the matrix rate"
    text += f", {own.seconds / floor:.3g} times the floor"
    if low:
        text += "; too low: " + ", ".join(f"{name} (at least {targets[name]:g})" for name in low)
    return Seen(text, figures, passed=not low)


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
