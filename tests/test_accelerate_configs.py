"""`accelerate launch` takes every file in configs/accelerate/, and each file says how to use it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

from perser.training.sharding import check_launch

FOLDER = Path(__file__).parents[1] / "configs" / "accelerate"
KINDS = {
    "one_gpu": DistributedType.NO,
    "ddp": DistributedType.MULTI_GPU,
    "two_nodes": DistributedType.MULTI_GPU,
    "fsdp": DistributedType.FSDP,
    "fsdp_zero2": DistributedType.FSDP,
}
TRAININGS = ("meta_perser.pretrain", "meta_perser.train", "speechlm_icl.train")


def test_every_file_is_tested_here():
    assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_loads_the_file(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == KINDS[name]
    assert config.num_processes == {"one_gpu": 1, "two_nodes": 16}.get(name, 8)


@pytest.mark.parametrize("name", KINDS)
def test_a_key_that_accelerate_does_not_know_is_refused(name, tmp_path):
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content | {"num_gpus": 8}))
    with pytest.raises(ValueError, match="num_gpus"):
        load_config_from_file(str(tmp_path / "other.yaml"))


@pytest.mark.parametrize("name", KINDS)
def test_every_fsdp_option_is_one_that_the_launcher_knows(name):
    """Accelerate itself does not check these."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    known = vars(launch_command_parser().parse_args(["train.py"]))
    assert content.get("fsdp_config", {}).keys() <= known.keys()


@pytest.mark.parametrize(("name", "stage_3"), [("fsdp", "true"), ("fsdp_zero2", "false")])
def test_the_environment_that_the_launcher_sets_is_accepted(name, stage_3, monkeypatch):
    """It includes the variables that accelerate adds by itself."""
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "speechlm_icl.train"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    for variable, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(variable, value)
    check_launch()
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    assert os.environ["FSDP_RESHARD_AFTER_FORWARD"] == stage_3


@pytest.mark.parametrize("name", KINDS)
def test_the_comments_show_the_command_and_the_trainings(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"accelerate launch --config_file configs/accelerate/{name}.yaml" in text
    assert all(training in text for training in TRAININGS) or "every training" in text


def test_two_nodes_take_address_and_rank_from_the_command_line():
    file = FOLDER / "two_nodes.yaml"
    words = ["--config_file", str(file), "--main_process_ip", "10.0.0.1", "--machine_rank", "1"]
    parsed = launch_command_parser().parse_args([*words, "-m", "meta_perser.train"])
    arguments, *_ = _validate_launch_command(parsed)
    assert (arguments.num_machines, arguments.num_processes, arguments.machine_rank) == (2, 16, 1)
    assert (arguments.main_process_ip, arguments.main_process_port) == ("10.0.0.1", 29500)
    assert arguments.multi_gpu
