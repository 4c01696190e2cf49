"""The scope: which part of the recognizer moves, in training or adaptation, and from which layer up."""

from __future__ import annotations

import re
import sys

from perser.errors import UserError, nearest

DEFAULT_RANK = 8

SCOPES = ("all", "top_layers:N", "lora", "lora:R", "lora:R:N", "head", "linears")
"""How a scope is spelled; N and R are numbers."""

CONVEX_SCOPES = ("head", "linears")
"""The scopes of the proximal solver, which moves the classifier alone: so a person has one best head."""


def check_scope(scope: str) -> None:
    """Raise UserError for a string that is no scope of any encoder."""
    lowest_trainable_layer(scope, num_layers=sys.maxsize)


def check_solver(solver: str, scope: str) -> None:
    """Raise UserError for a scope with which the proximal solver has no single solution."""
    if solver == "proximal" and scope not in CONVEX_SCOPES:
        raise UserError(
            f"scope: {scope} with inner.solver: proximal is not convex: a person has many solutions, and the "
            "gradient at one of them says nothing of the others; give scope head or linears"
        )


def check_window(scope: str, trained_scope: str, frame_window: int) -> None:
    """Raise UserError for a scope that, on any encoder, moves layers below those of `trained_scope`.

    Only the layers of `trained_scope` read means of `frame_window` frames.
    """
    lowest = lowest_trainable_layer(scope, num_layers=sys.maxsize)
    lowest_trained = lowest_trainable_layer(trained_scope, num_layers=sys.maxsize)
    refuse_below_windows(scope, lowest, lowest_trained, frame_window)


def refuse_below_windows(scope: str, lowest: int | None, first: int | None, frame_window: int) -> None:
    """Raise UserError where a scope moves layers that do not read means of `frame_window` frames.

    `lowest`: the lowest layer that the scope moves; `first`: the first one that reads such means.
    """
    if frame_window > 1 and (lowest is None or lowest < (first or 0)):
        raise UserError(
            f"scope: {scope} moves layers below those that read means of {frame_window} frames (pretrain's "
            "frame_window): give a scope that moves fewer layers, or pretrain with frame_window: 1"
        )


def lowest_trainable_layer(scope: str, num_layers: int) -> int | None:
    """Return the index of the lowest trunk layer that a scope moves; None where the trunk's input moves too.

    Where no layer moves, it is `num_layers`. Scopes:

    - `all`: the whole trunk and the head;
    - `top_layers:N`: the N highest layers and the head;
    - `lora`, `lora:R`, `lora:R:N`: adapters of rank R on the attention of every layer, or of the N highest,
      and the head;
    - `head`: the layer weights and the two linear layers;
    - `linears`: only the two linear layers.

    Raises UserError for anything else.
    """
    if scope == "all":
        return None
    if scope in ("head", "linears"):
        return num_layers
    if lora_rank(scope) is not None and scope.count(":") < 2:
        return 0
    if match := re.fullmatch(r"(?:top_layers|lora:\d+):(\d+)", scope):
        count = int(match[1])
        if 1 <= count <= num_layers:
            return num_layers - count
        raise UserError(f"scope: {scope}, but this encoder has {num_layers} layers")
    closest = nearest(scope, SCOPES)
    hint = "" if closest is None else f" (did you mean {closest}?)"
    raise UserError(f"scope: '{scope}' is none of {', '.join(SCOPES)}{hint}")


def lora_rank(scope: str) -> int | None:
    """Return the rank R of `lora:R` or `lora:R:N` (8 for `lora`), None for any other scope.

    Raises UserError for rank 0.
    """
    match = re.fullmatch(r"lora(?::(\d+)(?::\d+)?)?", scope)
    if match is None:
        return None
    rank = int(match[1] or DEFAULT_RANK)
    if rank < 1:
        raise UserError(f"scope: {scope}, but adapters need a rank of at least 1")
    return rank
