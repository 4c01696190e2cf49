"""A recognizer as a function of the weights that move: no shared module is changed while it is computed.

`torch.func.functional_call` puts a person's weights into the module itself for the time of a call: a second
thread that uses the same module meanwhile computes with the first one's weights. Here they go into a copy of
the module's structure, which its caller alone has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic

import torch
from torch import Tensor, nn

from perser.device import is_gpu
from perser.encoders.encoder import Attention, SpeechEncoder
from perser.encoders.structure_copy import Module, structure_copy


class FunctionalModel(Generic[Module]):
    """A module's output as a function of some of its weights, for one thread.

    Args:
        module: maps a `ClipBatch` to logits.
        names: the weights that a call may give; others stay the module's own.
        attention: how the speech encoders that hold such weights compute attention; None: as the module does.
    """

    def __init__(self, module: Module, names: Iterable[str], attention: Attention | None = None) -> None:
        names = list(names)
        owners = {name: name.rpartition(".")[0] for name in names}
        self.module = structure_copy(module, owners.values())
        """The copy. It computes with the weights of the last call."""
        if attention is not None:
            _set_attention(self.module, set(map(id, module.modules())), attention)
        # A slot takes a person's weights, which are no parameters.
        self._slots: dict[str, tuple[dict[str, Any], str]] = {
            name: (self.module.get_submodule(owner)._parameters, name.rpartition(".")[2])
            for name, owner in owners.items()
        }
        for name, (parameters, last) in self._slots.items():
            if last not in parameters:
                raise KeyError(f"{name} is no parameter of {type(module).__name__}")
        self._own: dict[str, Tensor] = {
            name: parameters[last] for name, (parameters, last) in self._slots.items()
        }
        self._linear = [
            name for name, owner in owners.items() if isinstance(module.get_submodule(owner), nn.Linear)
        ]

    def __call__(self, theta: Mapping[str, Tensor], *arguments: Any) -> Tensor:
        """Return the module's output with the tensors of `theta` in place of its own."""
        weights = {**self._own, **theta}
        device = next(iter(weights.values())).device if weights else torch.device("cpu")
        if is_gpu(device) and torch.is_autocast_enabled(device.type):
            weights |= self._cast_together(weights, torch.get_autocast_dtype(device.type))
        for name, (parameters, last) in self._slots.items():
            parameters[last] = weights[name]
        return self.module(*arguments)

    def _cast_together(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the weights of linear layers in autocast's dtype, by a few large kernels.

        Autocast would cast each of them, and each of their gradients, alone: hundreds of kernels a step.
        """
        tensors = {name: weights[name] for name in self._linear if weights[name].dtype == torch.float32}
        if not tensors:
            return {}
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).to(dtype)
        parts = flat.split([tensor.numel() for tensor in tensors.values()])
        return {
            name: part.view(tensor.shape) for (name, tensor), part in zip(tensors.items(), parts, strict=True)
        }


def _set_attention(copy: nn.Module, shared: set[int], attention: Attention) -> None:
    """Choose the attention of copied speech encoders; `shared`: the ids of modules that are no copies."""
    for submodule in copy.modules():
        if isinstance(submodule, SpeechEncoder) and id(submodule) not in shared:
            submodule.set_attention_of_copies(attention, shared)
