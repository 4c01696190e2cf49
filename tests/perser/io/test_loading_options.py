from __future__ import annotations

import pytest
import torch

from perser.errors import UserError
from perser.io.loading_options import LoadingOptions, SavingOptions


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("value", [torch.bfloat16, "bfloat16", "torch.bfloat16"])
def test_a_number_format_may_be_written_as_transformers_accepts_it(name, value):
    assert LoadingOptions.of({name: value}).dtype is torch.bfloat16


def test_without_a_number_format_weights_stay_as_saved():
    for options in ({}, {"dtype": None}, {"dtype": "auto"}, {"torch_dtype": "auto"}):
        assert LoadingOptions.of(options).dtype is None


@pytest.mark.parametrize("value", ["bf16", "int8", torch.int64, 16, "float8_e4m3fn"])
def test_what_is_no_number_format_is_refused(value):
    with pytest.raises(UserError, match=f"dtype: '{value}' is no number format of weights: give float32"):
        LoadingOptions.of({"dtype": value})


@pytest.mark.parametrize(("gpu", "found"), [(True, "cuda"), (False, "cpu")])
@pytest.mark.parametrize("value", ["auto", "balanced", "sequential", {"": "auto"}])
def test_a_device_map_that_leaves_the_choice_gives_the_gpu_if_there_is_one(value, gpu, found, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert LoadingOptions.of({"device_map": value}).device == found


@pytest.mark.parametrize(
    "value", ["cpu", torch.device("cpu"), {"": "cpu"}, {"encoder": "cpu", "head": "cpu"}]
)
def test_a_device_map_may_name_one_device(value):
    assert LoadingOptions.of({"device_map": value}).device == "cpu"


def test_a_device_map_of_several_devices_or_of_a_missing_one_is_refused():
    with pytest.raises(UserError, match="device_map: it names cpu and cuda:0, but the whole model"):
        LoadingOptions.of({"device_map": {"encoder": 0, "head": "cpu"}})
    with pytest.raises(UserError, match="device_map: it names no device"):
        LoadingOptions.of({"device_map": {}})
    with pytest.raises(UserError, match="device: 'disk' cannot be used here"):
        LoadingOptions.of({"device_map": "disk"})


def test_options_that_ask_for_what_is_always_done_are_accepted_and_others_are_not():
    options = LoadingOptions.of({"low_cpu_mem_usage": True, "use_safetensors": True, "token": "x"})
    assert options == LoadingOptions({"token": "x"})
    with pytest.raises(TypeError, match="takes no max_memory, quantization_config"):
        LoadingOptions.of({"quantization_config": {}, "max_memory": {}})


def test_a_part_of_a_folder_is_refused():
    assert LoadingOptions.of({"subfolder": ""}).hub == {}
    with pytest.raises(UserError, match=r"^subfolder: 'inside', but a model has a folder to itself"):
        LoadingOptions.of({"subfolder": "inside"})


def test_weights_that_are_not_the_models_are_refused_and_not_left_unsaved():
    model = torch.nn.Linear(2, 3)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    halved = {name: value.half() for name, value in own.items()}
    saving = SavingOptions.of(model, {"state_dict": own, "max_shard_size": "1GB", "private": True})
    assert (saving.here, saving.upload, saving.name, saving.hub) == (True, False, None, {"private": True})
    assert not SavingOptions.of(model, {"is_main_process": False}).here
    for other in (own | {"weight": own["weight"] + 1}, {"weight": own["weight"]}, halved, {}):
        with pytest.raises(UserError, match=r"^state_dict: it holds other weights than the model"):
            SavingOptions.of(model, {"state_dict": other})
