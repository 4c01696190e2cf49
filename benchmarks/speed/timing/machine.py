"""What the figures depend on besides the code: the device, the versions, the rate of a matrix product."""

from __future__ import annotations

import os
import platform
from statistics import median

import torch
import transformers

from benchmarks.speed.timing.rounds import Precision, seconds
from perser.errors import UserError

_MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}

_TRIES = 5


def check_device(device: str) -> None:
    """Raise UserError if a GPU is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, but torch finds no GPU here: give --device cpu")


def machine_of(device: str) -> dict[str, str | int]:
    """Return the device, its cores and threads, and the versions of torch and transformers, by name."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
    }


def matrix_rate(device: torch.device, precision: Precision) -> float:
    """Return the floating-point operations a second of one large matrix product: the median of five."""
    size = _MATRIX_SIZE[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * size**3 / median(seconds(lambda: left @ right, device) for _ in range(_TRIES))
