"""What a figure or a training depends on besides its options: the code, the machine, the versions."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from perser.distributed import processes

PACKAGES = ("perser", "torch", "transformers", "peft", "accelerate", "scikit-learn", "numpy")


def circumstances() -> dict[str, Any]:
    """The code and the machine of now, for the record of what is measured or trained."""
    return {
        "commit": commit(),
        "device": device_name(processes().device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@cache
def commit() -> str | None:
    """The code's Git commit, with `+changes` where files differ from it; None where it is no checkout."""
    here = Path(__file__).parent
    try:
        at = ["git", "-C", str(here)]
        found = subprocess.run([*at, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*at, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def device_name(device: torch.device) -> str:
    """Which processor it is, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu()


@cache
def _cpu() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
