"""Weights in shares: what a launch may ask for, and two processes that train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from perser.training.sharding import check_launch, is_sharded
from tests.perser.training.sharded_training import KINDS, STOP, everything, trained

WORKER = Path(__file__).with_name("sharded_training.py")
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, r"^DeepSpeed .*configs/accelerate/fsdp_zero2\.yaml"),
        (FSDP | {"FSDP_VERSION": "1"}, r"^fsdp_version: 1 is not supported: .*fsdp\.yaml"),
        ({"ACCELERATE_USE_FSDP": "true"}, "^fsdp_version: 1 "),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "^fsdp_offload_params: true is not supported"),
        (FSDP | {"FSDP_ACTIVATION_CHECKPOINTING": "1"}, "^fsdp_activation_checkpointing: true is not"),
        (FSDP | {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "^fsdp_cpu_ram_efficient_loading: true is not"),
        (
            FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "FULL_SHARD"},
            "^fsdp_reshard_after_forward: FULL_SHARD, give",
        ),
    ],
)
def test_unsupported_launch_options_are_refused(asked, said, monkeypatch):
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        start_accelerator(0)


def test_one_process_holds_full_weights(monkeypatch):
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    check_launch()
    assert not is_sharded()


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return everything()


@pytest.fixture(scope="module")
def in_two_shares(tmp_path_factory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("shares") / "found.pt"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", WORKER, out]
    environment = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    subprocess.run(words, env=os.environ | FSDP | environment, check=True, timeout=120)
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("name", KINDS)
def test_two_processes_keep_half_of_what_is_shared(name, alone, in_two_shares):
    (_, whole), (_, shared) = alone[name]["undisturbed"], in_two_shares[name]["undisturbed"]
    layers = 2 * (36 + 6)  # shared by rows: this process has the head's only one
    frozen = 36 if KINDS[name][1] else 0
    assert shared["kept"] == whole["kept"] - (layers + frozen) // 2


@pytest.mark.parametrize("name", KINDS)
def test_sharded_training_gives_the_same_weights(name, alone, in_two_shares):
    """Every norm and every look of it, the best weights, and all that a checkpoint holds."""
    (tensors, facts), found = alone[name]["undisturbed"]
    (shared_tensors, shared_facts), shared = in_two_shares[name]["undisturbed"]
    assert shared["norms"] == pytest.approx(found["norms"], rel=1e-12)
    assert shared["looks"] == pytest.approx(found["looks"], rel=1e-10)
    assert shared["best"].keys() == found["best"].keys()
    for key, one in found["best"].items():
        torch.testing.assert_close(shared["best"][key], one, rtol=1e-9, atol=1e-12)
    assert shared_facts.keys() == facts.keys()
    assert shared_tensors.keys() == tensors.keys()
    for key, one in tensors.items():
        torch.testing.assert_close(shared_tensors[key], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_a_stopped_one_ends_bit_for_bit_as_one_that_was_not(name, in_two_shares):
    found = in_two_shares[name]
    (wanted, _), (tensors, _) = found["undisturbed"][0], found["gone on"]
    assert tensors.keys() == wanted.keys()
    for key, one in wanted.items():
        assert torch.equal(tensors[key], one), key


def test_a_sharded_run_resumes_unsharded(alone, in_two_shares):
    stopped = in_two_shares["one piece"]["stopped"]
    assert stopped[1]["counters"] == {"done": STOP}
    (tensors, _), _ = trained(3, by_layer=False, stopped=stopped)
    for key, one in alone["one piece"]["undisturbed"][0][0].items():
        torch.testing.assert_close(tensors[key], one, rtol=1e-9, atol=1e-12)
