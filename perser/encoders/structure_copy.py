"""Copy the structure of a module, but not its tensors: a change of the copy does not show in the module.

So one loaded model can serve many threads: each computes with a copy of its own, and none changes the module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def structure_copy(module: Module, paths: Iterable[str]) -> Module:
    """Return a copy of a module in which the submodules at these paths, and their parents, are copies, too.

    Parameters, buffers, submodules and attributes may be replaced in any copy. All other submodules, and
    every tensor, are the module's own.
    """
    copied = {path[:end] for path in paths for end in _ends(path)}
    return cast(Module, _copy(module, "", copied | {""}))


def _ends(path: str) -> Iterator[int]:
    """Yield where the path of each parent of a submodule ends, and its own path."""
    yield from (place for place, character in enumerate(path) if character == ".")
    yield len(path)


def _copy(module: nn.Module, path: str, copied: set[str]) -> nn.Module:
    if path not in copied:
        return module
    # Not copy.copy: parametrized and sharded modules refuse it.
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    copy.__dict__["_parameters"] = dict(module._parameters)
    copy.__dict__["_buffers"] = dict(module._buffers)
    copy.__dict__["_modules"] = {
        name: None if child is None else _copy(child, f"{path}.{name}" if path else name, copied)
        for name, child in module._modules.items()
    }
    return copy
