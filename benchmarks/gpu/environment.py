"""What this machine is: its GPU and driver, the versions of the packages, the rates of matrix products."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import torch

from benchmarks.gpu.findings import Check, NotHere, Seen, Settings
from benchmarks.gpu.precisions import products_in
from benchmarks.speed.timing.machine import matrix_rate
from benchmarks.speed.timing.rounds import Precision
from perser.environment import device_name, git_commit

PACKAGES = ("torch", "torchaudio", "transformers", "accelerate", "peft", "numpy", "soundfile", "datasets")

OPTIONAL = ("jsonargparse", "evaluate", "torchcodec", "bitsandbytes", "higher")
"""Packages without which some checks are skipped."""


def checks(settings: Settings) -> Iterator[Check]:
    """Yield the checks of this part."""
    yield "machine", machine
    yield "GPU", lambda: gpu(settings)
    yield "packages", lambda: packages(PACKAGES)
    yield "optional packages", lambda: packages(OPTIONAL)
    for precision in get_args(Precision):
        yield f"matrix product, {precision}", partial(rate, settings, precision)


def machine() -> Seen:
    """Return the processor, its cores, the version of Python, and the commit of this code."""
    cpu = device_name(torch.device("cpu"))
    code = git_commit() or "a copy without Git"
    return Seen(f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, code {code}")


def gpu(settings: Settings) -> Seen:
    """Return the GPU's name, memory and driver."""
    if not settings.has_gpu:
        raise NotHere("needs a GPU: torch finds none")
    properties = torch.cuda.get_device_properties(0)
    gibibytes = properties.total_memory / 2**30
    text = f"{properties.name}, {gibibytes:.1f} GiB, driver {driver()}, CUDA {torch.version.cuda}"
    return Seen(text, {"gibibytes": gibibytes, "multiprocessors": properties.multi_processor_count})


def driver() -> str:
    """Return the version of NVIDIA's driver, or `unknown`."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.strip().splitlines() or ["unknown"])[0]


def packages(names: tuple[str, ...]) -> Seen:
    """Return the versions of packages; missing ones are named, too."""
    versions = {name: _version(name) for name in names}
    return Seen(", ".join(f"{name} {number}" for name, number in versions.items()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def rate(settings: Settings, precision: Precision) -> Seen:
    """Return the rate of one large matrix product, which utilization is relative to."""
    if not settings.has_gpu and precision == "tf32":
        raise NotHere("needs a GPU: CPUs have no TF32")
    with products_in(precision):
        measured = matrix_rate(torch.device(settings.device), precision) / 1e12
    return Seen(f"{measured:.3g} TFLOP/s", {"tflops": measured})
