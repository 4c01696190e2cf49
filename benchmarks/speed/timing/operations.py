"""Count the floating-point operations of a run: products, convolutions, attention; a multiply-add is two."""

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


def run_and_count(run: Callable[[], Result]) -> tuple[Result, int]:
    """Return a run's result and its number of operations. It serves as a warm-up too."""
    with _Counter() as counter:
        result = run()
    return result, counter.total


def count_operations(run: Callable[[], object]) -> int:
    """Return a run's number of operations."""
    return run_and_count(run)[1]


class _Counter(TorchDispatchMode):
    """Counts by torch's own formulas, without its FlopCounterMode.

    That one's module hooks fail if fast weights are leaves, and it counts a grouped convolution's weight
    gradient once for every pair of groups.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode a linear layer arrives as one operator
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _convolution_backward(grad: Tensor, inputs: Tensor, weight: Tensor, *rest: Any, **_: Any) -> int:
    """Return the forward pass's operations for each gradient (input, weight) that is asked for."""
    transposed, mask = rest[4], rest[7]
    positions = inputs if transposed else grad
    return 2 * positions.numel() * math.prod(weight.shape[1:]) * sum(mask[:2])


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(*_with_repeated_heads(query, key, value))


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, *_with_repeated_heads(query, key, value))


def _with_repeated_heads(query: Tensor, *shared: Tensor) -> list[torch.Size]:
    """Return the shapes as if keys and values, which heads may share, were repeated for each head."""
    heads = query.shape[1:2]
    return [query.shape, *(tensor.shape[:1] + heads + tensor.shape[2:] for tensor in shared)]


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
