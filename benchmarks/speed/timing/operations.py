"""Floating-point operations of whatever runs, two a multiply-add: products, convolutions, attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

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


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(*_as_many_heads(query, key, value))


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, *_as_many_heads(query, key, value))


def _as_many_heads(query: Tensor, *shared: Tensor) -> list[torch.Size]:
    """Shapes as if keys and values, which several heads may share, were repeated for each head."""
    return [query.shape, *(one.shape[:1] + query.shape[1:2] + one.shape[2:] for one in shared)]


_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
)

_FORMULAS = {
    **flop_registry,
    _aten.convolution_backward: _convolution_backward,
    **{getattr(_aten, name): _attention for name in _ATTENTION},
    **{getattr(_aten, f"{name}_backward"): _attention_backward for name in _ATTENTION},
}
