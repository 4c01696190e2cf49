"""Low-rank adapters (LoRA: Hu et al. 2022) on the attention projections of a speech encoder, through peft.

The encoder keeps its own weights under their own names: `base_state` gives them without the adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

PROJECTIONS = r"(.*\.)?layers\.({layers})\.(self_attn|attention)\.(q|k|v|out)_proj"
"""The attention projections of some layers, as all families of `perser.encoder_families` name them."""

LAYER = re.compile(r"\blayers\.(\d+)\.")

NAME = "default"


def inject(model: nn.Module, rank: int, layers: Iterable[int], seed: int) -> None:
    """Put adapters of this rank on the attention projections of these layers: A drawn from the seed, B zero,
    so that the outputs are still the model's own. The scale alpha / rank is 1: the learning rate does the
    scaling."""
    # Imported here: peft takes as long as torch to import, and most encoders have no adapters.
    from peft import LoraConfig, inject_adapter_in_model

    targets = PROJECTIONS.format(layers="|".join(map(str, layers)))
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, lora_dropout=0.0)
    config._register_custom_module({nn.Linear: _visible_lora()})
    # The CPU's generator alone, where peft draws: the caller's chance stays as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=NAME)
    del model.peft_config  # a mark for transformers' own adapters, which these are not


def merge(model: nn.Module) -> None:
    """Take the adapters out, what they learned added to the weights that they adapt: equal outputs."""
    for name, module in _adapted(model).items():
        own = module.get_base_layer()
        with torch.no_grad():
            own.weight += module.get_delta_weight(NAME)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, own)


def adapter_shape(model: nn.Module) -> tuple[int, int] | None:
    """The rank of the model's adapters and the lowest layer that has one; None where none has."""
    adapted = _adapted(model)
    if not adapted:
        return None
    layers = [int(match[1]) for name in adapted if (match := LAYER.search(name))]
    return next(iter(adapted.values())).r[NAME], min(layers)


@contextmanager
def switched_off(model: nn.Module) -> Iterator[None]:
    """Within it, the model computes as if it had no adapters."""
    layers = list(_adapted(model).values())
    moving = [one for one in model.parameters() if one.requires_grad]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        # peft switches gradients together with its adapters.
        model.requires_grad_(False)
        for one in moving:
            one.requires_grad_(True)


def _adapted(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that have an adapter, by name: those that `inject` made."""
    return {name: one for name, one in model.named_modules() if hasattr(one, "lora_A")}


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is that of an adapter's A or B."""
    return re.search(r"\.lora_[AB]\.", name) is not None


def base_name(name: str) -> str:
    """The name that a parameter has in the model without adapters."""
    return name.replace(".base_layer.", ".")


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters and buffers by their own names, adapters left out."""
    state = model.state_dict(keep_vars=True)
    return {base_name(name): value for name, value in state.items() if not is_adapter(name)}


@cache
def _visible_lora() -> type:
    """The adapter layer: peft's linear layer with LoRA, whose `weight` is the one in effect, W + B A.

    WavLM reads its projections' weights instead of calling the projections. peft's own layer would show it W
    alone, and the adapters would do nothing without any error.
    """
    # Imported here: peft takes as long as torch to import, and most encoders have no adapters.
    from peft.tuners.lora import Linear

    class VisibleLora(Linear):
        @property
        def weight(self) -> Tensor:
            own = self.get_base_layer().weight
            return own if self.disable_adapters else own + self.get_delta_weight(NAME)

    return VisibleLora
