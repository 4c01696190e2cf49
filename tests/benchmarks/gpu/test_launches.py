"""Each file of configs/accelerate for one machine starts one process, and its report is judged."""

from __future__ import annotations

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from benchmarks.gpu import launches
from benchmarks.gpu.findings import NotHere
from benchmarks.gpu.launches import FILES, launch, launch_command, launch_environment, reason_in, seen_of


def test_a_launch_starts_a_process_with_a_group_and_shards(on_cpu):
    seen = launch("fsdp", on_cpu)
    assert seen.passed, seen.text
    assert seen.text.startswith("backend gloo, on cpu")
    assert {"pretrain, s a step", "meta-train, s a step", "icl-train, s a step"} <= seen.figures.keys()


@pytest.mark.parametrize("name", FILES)
def test_accelerate_takes_the_command(name, tmp_path):
    words = launch_command(name, tmp_path / "out.json")
    parsed = launch_command_parser().parse_args(words[3:])
    arguments, *_ = _validate_launch_command(parsed)
    assert arguments.num_processes == 1
    assert (arguments.multi_gpu, arguments.use_fsdp) == (name == "ddp", name == "fsdp")
    assert arguments.training_script == "benchmarks.gpu.launched"


def test_only_a_machine_without_a_gpu_launches_on_the_cpu(on_cpu, on_gpu, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert launch_environment(on_cpu)["ACCELERATE_USE_CPU"] == "true"
    assert "ACCELERATE_USE_CPU" not in launch_environment(on_gpu)


@pytest.mark.parametrize(
    ("name", "backend", "device", "far", "passed"),
    [
        ("one_gpu", None, "cuda", None, True),
        ("ddp", "nccl", "cuda:0", None, True),
        ("ddp", "gloo", "cuda:0", None, False),
        ("ddp", "nccl", "cpu", None, False),
        ("fsdp", "nccl", "cuda:0", 1e-7, True),
        ("fsdp", "nccl", "cuda:0", 0.1, False),
    ],
)
def test_on_a_gpu_groups_use_nccl(name, backend, device, far, passed, on_gpu):
    report = {"backend": backend, "device": device, "seconds": {"pretrain": 0.1}, "sharded_distance": far}
    assert seen_of(name, report, on_gpu).passed == passed


def test_a_launch_that_fails_says_why(on_cpu, monkeypatch):
    command = ["python3", "-c", "import sys; print('no port', file=sys.stderr); sys.exit(1)"]
    monkeypatch.setattr(launches, "launch_command", lambda name, out: command)
    seen = launch("ddp", on_cpu)
    assert (seen.passed, seen.text) == (False, "exit status 1: no port")


def test_the_reason_is_the_launched_processs_own_error():
    errors = "Traceback:\n[rank0]: ValueError: no loss\nCalledProcessError: Command failed\n======"
    assert reason_in(errors) == "[rank0]: ValueError: no loss"
    assert reason_in("") == "it printed nothing"
    with pytest.raises(ModuleNotFoundError) as error:
        reason_in("x\nModuleNotFoundError: No module named 'soundfile'\nCalledProcessError: Command failed")
    assert error.value.name == "soundfile"


def test_without_the_files_a_launch_is_skipped(on_cpu, monkeypatch, tmp_path):
    monkeypatch.setattr(launches, "CONFIGS", tmp_path)
    with pytest.raises(NotHere, match="a copy of the source tree"):
        launch("ddp", on_cpu)
