"""Which part of the recognizer moves, in training or in adaptation, and from which layer up."""

from __future__ import annotations

import re
import sys

from perser.errors import UserError

DEFAULT_RANK = 8


def check_scope(scope: str) -> None:
    """Raises UserError for what is no scope, whatever the encoder."""
    lowest_moving_layer(scope, num_layers=sys.maxsize)


def check_window(scope: str, trained_scope: str, frame_window: int) -> None:
    """Raises UserError for a scope, whatever the encoder, that moves layers below those of `trained_scope`,
    which alone read means of several frames."""
    lowest, trained = (lowest_moving_layer(one, num_layers=sys.maxsize) for one in (scope, trained_scope))
    refuse_below_windows(scope, lowest, trained, frame_window)


def refuse_below_windows(scope: str, lowest: int | None, first: int | None, frame_window: int) -> None:
    """Raises UserError where a scope, which moves layers from `lowest` up, reaches below layer `first`, from
    which on layers read means of `frame_window` frames."""
    if frame_window > 1 and (lowest is None or lowest < (first or 0)):
        raise UserError(
            f"scope: {scope} moves layers below those that read {frame_window} frames at once (pretrain's "
            "frame_window): give a higher one"
        )


def lowest_moving_layer(scope: str, num_layers: int) -> int | None:
    """Number of trunk layers below everything that moves; None where even the trunk's entrance moves.

    `scope`: `all` (the whole trunk and the head), `top_layers:N` (the N highest layers and the head),
    `lora`, `lora:R` or `lora:R:N` (adapters of rank R on the attention of every layer, or of the N highest,
    and the head), `head` (layer weights and the two linear layers) or `linears` (those two alone). Raises
    UserError for anything else.
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
    raise UserError(f"scope: '{scope}' is none of all, top_layers:N, lora, lora:R, lora:R:N, head, linears")


def lora_rank(scope: str) -> int | None:
    """The rank R of `lora:R` or `lora:R:N` (8 of a bare `lora`), None of any other scope. Raises UserError
    for rank 0."""
    match = re.fullmatch(r"lora(?::(\d+)(?::\d+)?)?", scope)
    if match is None:
        return None
    rank = int(match[1] or DEFAULT_RANK)
    if rank < 1:
        raise UserError(f"scope: {scope}, but adapters need a rank of at least 1")
    return rank
