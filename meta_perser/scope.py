"""Which part of the recogniser moves, in training or in adaptation, and from which layer up."""

from __future__ import annotations

import re

from perser.errors import UserError


def lowest_moving_layer(scope: str, num_layers: int) -> int | None:
    """Number of trunk layers below everything that moves; None where even the trunk's entrance moves.

    `scope`: `all` (the whole trunk and the head), `top_layers:N` (the N highest layers and the head) or
    `head` (layer weights and classifier alone). Raises UserError for anything else.
    """
    if scope == "all":
        return None
    if scope == "head":
        return num_layers
    if match := re.fullmatch(r"top_layers:(\d+)", scope):
        count = int(match[1])
        if 1 <= count <= num_layers:
            return num_layers - count
        raise UserError(f"scope: {scope}, but this encoder has {num_layers} layers")
    raise UserError(f"scope: '{scope}' is none of all, top_layers:N, head")
