"""The GPU and the driver, with stand-ins for torch.cuda and nvidia-smi."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import environment
from benchmarks.gpu.environment import driver, gpu, packages, rate
from benchmarks.gpu.findings import NotHere

PROPERTIES = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30, multi_processor_count=132)


def test_a_gpu_is_described(on_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: PROPERTIES)
    monkeypatch.setattr(environment, "driver", lambda: "580.1")
    seen = gpu(on_gpu)
    assert seen.text.startswith("NVIDIA H100, 80.0 GiB, driver 580.1")
    assert seen.figures == {"gibibytes": 80.0, "multiprocessors": 132}


def test_without_a_gpu_the_check_says_what_it_needs(on_cpu):
    with pytest.raises(NotHere, match="needs a GPU"):
        gpu(on_cpu)
    with pytest.raises(NotHere, match="needs a GPU"):
        rate(on_cpu, "tf32")


def test_the_driver_is_read_from_nvidia_smi(monkeypatch):
    done = SimpleNamespace(stdout="580.159.04\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: done)
    assert driver() == "580.159.04"


def test_the_driver_is_unknown_without_nvidia_smi(monkeypatch):
    def run(*words, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", run)
    assert driver() == "unknown"


def test_missing_packages_are_named():
    assert packages(("torch", "nowhere-to-be-found")).text.endswith("nowhere-to-be-found missing")
