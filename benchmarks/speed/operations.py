"""Floating-point operations of whatever runs, two a multiply-add: products, convolutions, attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten


Result = TypeVar("Result")


def counted(run: Callable[[], Result]) -> tuple[Result, int]:
    """What a run gives, and its operations; it is a warm-up too."""
    with _Counter() as counter:
        result = run()
    return result, counter.total


def operations(run: Callable[[], object]) -> int:
    """Of one run."""
    return counted(run)[1]


class _Counter(TorchDispatchMode):
    """torch's own formulas without its FlopCounterMode, whose module hooks fail where fast weights are
    leaves, and which counts a grouped convolution's weight gradient once for every pair of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode a linear layer comes whole
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _convolution_backward(grad: Tensor, inputs: Tensor, weight: Tensor, *rest: Any, **_: Any) -> int:
    """The forward pass's operations for each of the gradients of input and weight that is asked for."""
    transposed, mask = rest[4], rest[7]
    places = inputs if transposed else grad
    return 2 * places.numel() * math.prod(weight.shape[1:]) * sum(mask[:2])


_FORMULAS = {
    **flop_registry,
    _aten.convolution_backward: _convolution_backward,
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[
        _aten._scaled_dot_product_flash_attention
    ],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
