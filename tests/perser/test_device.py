import pytest
import torch

from perser.distributed import compute_device
from perser.errors import UserError


@pytest.mark.parametrize(("there", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_if_there_is_one(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert compute_device() == chosen
    assert compute_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "graphics", "meta", ""])
def test_an_unavailable_device_is_a_user_error(name):
    with pytest.raises(UserError, match=f"device: '{name}' cannot be used here"):
        compute_device(name)
