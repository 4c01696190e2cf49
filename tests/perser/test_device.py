"""What is done for a GPU, with stand-ins for it, and that a CPU is left alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from perser.device import clock, free_bytes, loading_device, loading_on, set_tf32, to_device, uses_tf32
from perser.distributed import compute_device
from perser.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_if_there_is_one(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert compute_device() == chosen
    assert compute_device("cpu") == "cpu"


@pytest.mark.parametrize(
    "name",
    ["cuda:99", "cuda:7", "mps:3", "xpu:9", "graphics", "gpu", "cpu:5", "0", "meta", "hpu", "vulkan", ""],
)
def test_an_unavailable_device_is_a_short_line_with_those_that_are_there(name):
    with pytest.raises(UserError, match=f"device: '{name}' cannot be used here: give cpu") as caught:
        compute_device(name)
    assert len(str(caught.value)) < 120


def test_a_device_that_fails_is_named_with_a_short_reason(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA error: out of memory\n" + "more and more words. " * 100)

    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(UserError, match=r"here \(CUDA error: out of memory\): give another one"):
        compute_device("cpu")


def test_all_gpus_of_a_machine_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"'cuda:7' cannot be used here: give cpu or cuda or cuda:1$"):
        compute_device("cuda:7")


@pytest.fixture
def tf32_flags(monkeypatch):
    """torch's two flags, both off; restored after the test."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield lambda: (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32, cudnn.allow_tf32 = before


def test_the_clock_is_read_after_the_gpu_has_done_its_work(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: calls.append(f"wait for {device}"))
    monkeypatch.setattr("time.perf_counter", lambda: calls.append("read") or 7.0)
    assert clock(GPU) == 7.0
    assert calls == ["wait for cuda", "read"]
    calls.clear()
    clock(CPU)
    assert calls == ["read"]


def test_a_copy_to_a_gpu_is_pinned_and_does_not_wait():
    calls = []
    pinned = SimpleNamespace(to=lambda device, **options: calls.append((device, options)) or "on the GPU")
    tensor = SimpleNamespace(device=CPU, pin_memory=lambda: pinned)
    assert to_device(tensor, GPU) == "on the GPU"
    assert calls == [(GPU, {"non_blocking": True})]


@pytest.mark.parametrize(("origin", "target"), [("cpu", "cpu"), ("meta", "meta"), ("cpu", "meta")])
def test_other_copies_are_plain(origin, target):
    tensor = torch.ones(2, device=origin)
    copied = to_device(tensor, torch.device(target))
    assert copied.device.type == target
    assert origin != target or copied is tensor


def test_tf32_is_chosen_for_a_gpu_alone(tf32_flags):
    set_tf32(CPU, allowed=True)
    assert tf32_flags() == (False, False)
    set_tf32(GPU, allowed=True)
    assert tf32_flags() == (True, True)
    assert uses_tf32(GPU)
    assert not uses_tf32(CPU)
    set_tf32(GPU, allowed=False)
    assert tf32_flags() == (False, False)
    assert not uses_tf32(GPU)


def test_free_memory_counts_what_torch_holds_without_using_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_bytes(GPU) == 130


def test_the_device_of_a_model_that_is_loaded_is_that_of_the_innermost_block():
    assert loading_device() == CPU
    with loading_on("cuda"):
        with loading_on("cpu"):
            assert loading_device() == CPU
        assert loading_device() == GPU
    with pytest.raises(UserError), loading_on("cuda"):
        raise UserError("the model is damaged")
    assert loading_device() == CPU
