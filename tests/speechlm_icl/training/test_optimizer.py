from importlib.util import find_spec

import pytest
import torch

from perser import errors as extras
from perser.errors import UserError
from perser.training.accelerator import cosine_schedule
from perser.training.checkpoint import (
    BestWeights,
    TrainingState,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from speechlm_icl.training.optimizer import check_optimizer, new_optimizer
from speechlm_icl.training.options import IclOptions

needs_bitsandbytes = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs the extra quantized")


def rates(model, options) -> dict[str, float]:
    names = {id(one): name for name, one in model.named_parameters()}
    groups = new_optimizer(model, options).param_groups
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_the_projector_and_the_rest_have_rates_of_their_own(build, llama_folder):
    model = build(str(llama_folder))
    found = rates(model, IclOptions(learning_rate=1e-3, language_learning_rate=1e-4))
    assert set(found) == {name for name, one in model.named_parameters() if one.requires_grad}
    for name, rate in found.items():
        assert rate == (1e-3 if name.startswith("projector.") else 1e-4)


def test_without_a_second_rate_there_is_one(build):
    assert set(rates(build(), IclOptions(learning_rate=2e-3)).values()) == {2e-3}


@needs_bitsandbytes
def test_eight_bits_step_almost_as_thirty_two_do(build):
    """On large tensors, whose moments are in 8 bits: nearly the same way after three steps."""
    moved = []
    for kind in ("adamw", "adamw8bit"):
        model = build(width=64)
        trainer = new_optimizer(model, IclOptions(learning_rate=1e-3, optimizer=kind))
        layer = model.language_model.causal.model.layers[0].mlp.up_proj
        before = layer.weight.detach().clone()
        inputs = torch.randn(16, layer.in_features, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            layer(inputs).square().mean().backward()
            trainer.step()
            trainer.zero_grad()
        moved.append((layer.weight.detach() - before).flatten())
    eight = next(
        parameter
        for group in trainer.param_groups
        for parameter in group["params"]
        if parameter is layer.weight
    )
    assert trainer.state[eight]["state1"].dtype == torch.uint8
    assert torch.cosine_similarity(*moved, dim=0) > 0.97


@pytest.mark.parametrize("kind", ["adamw", pytest.param("adamw8bit", marks=needs_bitsandbytes)])
def test_an_optimizer_goes_on_from_what_was_kept_of_it(kind, build, tmp_path):
    """Through files, with some moments in 8 bits and some in 32, and a frozen language model beside it."""

    def moved(model, trainer, steps: range) -> None:
        for step in steps:
            layer = model.language_model.causal.model.layers[0].mlp.up_proj
            inputs = torch.randn(16, layer.in_features, generator=torch.Generator().manual_seed(step))
            (layer(inputs).square().mean() + model.projector.out_norm.weight.sum()).backward()
            trainer.step()
            trainer.zero_grad()

    def begin():
        model = build(width=64)
        trainer = new_optimizer(model, IclOptions(learning_rate=1e-3, optimizer=kind))
        return model, trainer, TrainingState(model, trainer, cosine_schedule(trainer, 9), BestWeights())

    model, trainer, state = begin()
    moved(model, trainer, range(3))
    write_checkpoint(tmp_path, 3, *state.capture())
    moved(model, trainer, range(3, 6))
    other, other_trainer, other_state = begin()
    other_state.restore(*read_checkpoint(newest_checkpoint(tmp_path)))
    moved(other, other_trainer, range(3, 6))
    for name, one in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], one), name


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    check_optimizer("adamw")
    with pytest.raises(UserError, match=r"bitsandbytes: pip install 'perser\[quantized\]'"):
        check_optimizer("adamw8bit")
