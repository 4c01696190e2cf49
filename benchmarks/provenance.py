"""Where figures come from: the code, the machine, the versions, the data and the models."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from perser.digests import weights_sha256
from perser.processes import processes

PACKAGES = ("perser", "torch", "transformers", "peft", "accelerate", "scikit-learn", "numpy")


def circumstances() -> dict[str, Any]:
    """The code and the machine of now, for the record of what is measured."""
    return {
        "commit": commit(),
        "device": device_name(processes().device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def one_or_distinct(values: Iterable[Any]) -> Any:
    """The value that all have; where they differ, the list of the different ones."""
    given = list(values)
    distinct = [value for place, value in enumerate(given) if value not in given[:place]]
    return distinct[0] if len(distinct) == 1 else distinct


def weights_digests(models: Path) -> dict[str, str]:
    """By the folder of a model, a digest of its weights: equal where all numbers are."""
    folders = sorted(one for one in models.iterdir() if one.is_dir()) if models.exists() else []
    found = {folder.name: weights_sha256(folder) for folder in folders}
    return {name: digest for name, digest in found.items() if digest is not None}


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
