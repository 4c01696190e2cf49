"""Where a model computes."""

from __future__ import annotations

import torch

from perser.errors import UserError


def compute_device(name: str | None = None) -> str:
    """The device of that name as torch spells it; when None the GPU if there is one, else `cpu`. Raises
    UserError for one that is not here."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"device: '{name}' cannot be used here ({reason}): give cpu or cuda") from error
    return name
