"""LoRA adapters (Hu et al. 2022) on the attention projections of a speech encoder, through peft.

`base_state` returns the encoder's own weights under their own names, without the adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from perser.device import seeded

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear

PROJECTIONS = r"(.*\.)?layers\.({layers})\.(self_attn|attention)\.((q|k|v|o|out)_proj|linear_(q|k|v|out))"
"""The attention projections of some layers, as the families of `perser.encoders.families` name them."""

LAYER = re.compile(r"\blayers\.(\d+)\.")
"""The layer number in a parameter's name."""

NAME = "default"
"""peft's name of the adapters."""


def inject(model: nn.Module, rank: int, layers: Iterable[int], seed: int) -> None:
    """Add adapters of this rank to the attention projections of these layers.

    A is drawn from the seed and B is zero, so that the model's outputs do not change. The scale alpha / rank
    is 1, because the learning rate already scales.
    """
    # Imported here, because peft takes as long to import as torch, and most encoders have no adapters.
    from peft import LoraConfig, inject_adapter_in_model

    targets = PROJECTIONS.format(layers="|".join(map(str, layers)))
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, lora_dropout=0.0)
    config._register_custom_module({nn.Linear: _visible_lora()})
    with seeded(seed):
        inject_adapter_in_model(config, model, adapter_name=NAME)
    del model.peft_config  # transformers takes this for adapters of its own


def merge(model: nn.Module) -> None:
    """Add what the adapters learned to the weights, and remove them. Outputs stay the same."""
    for name, module in adapted_layers(model).items():
        base = module.get_base_layer()
        assert isinstance(base, nn.Linear)  # as all layers that `inject` adapts
        with torch.no_grad():
            base.weight.add_(module.get_delta_weight(NAME))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)


def adapter_shape(model: nn.Module) -> tuple[int, int] | None:
    """Return the rank of the adapters and the lowest layer that has one; None if the model has none."""
    adapted = adapted_layers(model)
    if not adapted:
        return None
    layers = [int(match[1]) for name in adapted if (match := LAYER.search(name))]
    return next(iter(adapted.values())).r[NAME], min(layers)


def adapted_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """Return the layers with an adapter, by name: those that `inject` made."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def is_adapter(name: str) -> bool:
    """Return whether a parameter's name is that of an adapter's A or B."""
    return re.search(r"\.lora_[AB]\.", name) is not None


def base_name(name: str) -> str:
    """Return the name that a parameter has in the model without adapters."""
    return name.replace(".base_layer.", ".")


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's own parameters and buffers under their own names, without adapters."""
    state = model.state_dict(keep_vars=True)
    return {base_name(name): value for name, value in state.items() if not is_adapter(name)}


@cache
def _visible_lora() -> type:
    """Return the adapter layer: peft's linear layer with LoRA, but with `weight` being W + B A.

    WavLM reads the weights of its projections instead of calling them. peft's own layer would give it W, and
    the adapters would have no effect, without any error.
    """
    # Imported here, because peft takes as long to import as torch, and most encoders have no adapters.
    from peft.tuners.lora import Linear

    class VisibleLora(Linear):
        @property
        def weight(self) -> Tensor:
            own = self.get_base_layer().weight
            assert isinstance(own, Tensor)
            return own + self.get_delta_weight(NAME)

    return VisibleLora
