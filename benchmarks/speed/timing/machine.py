"""What figures depend on besides the code."""

from __future__ import annotations

import os
import platform

import torch
import transformers

from perser.errors import UserError


def check_device(device: str) -> None:
    """Raises UserError where a GPU is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, but torch finds no GPU here: give --device cpu")


def machine_of(device: str) -> dict[str, str | int]:
    """The device and the versions, by name."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
    }
