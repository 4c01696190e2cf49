"""Set the precision of a GPU's products, and say how well a measured run used the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu.findings import Seen, Settings
from benchmarks.speed.timing.comparison import Timing
from benchmarks.speed.timing.machine import matrix_rate
from benchmarks.speed.timing.rounds import Precision


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
