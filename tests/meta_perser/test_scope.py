"""Scopes: the lowest layer that moves, the adapters' rank, and what is refused."""

from __future__ import annotations

import pytest

from meta_perser.scope import DEFAULT_RANK, check_window, lora_rank, lowest_trainable_layer
from perser.errors import UserError


@pytest.mark.parametrize(
    ("scope", "lowest"),
    [
        ("all", None),
        ("head", 4),
        ("linears", 4),
        ("top_layers:1", 3),
        ("top_layers:4", 0),
        ("lora", 0),
        ("lora:3", 0),
        ("lora:3:1", 3),
    ],
)
def test_the_lowest_moving_layer_of_each_scope(scope, lowest):
    assert lowest_trainable_layer(scope, 4) == lowest


@pytest.mark.parametrize(
    "scope",
    [
        "top_layers:5",
        "top_layers:0",
        "top_layers",
        "most",
        "lora:",
        "lora:0",
        "lora:3:0",
        "lora:3:5",
        "lora:0:1",
        "lora:x",
        "",
    ],
)
def test_anything_else_is_refused(scope):
    with pytest.raises(UserError, match="scope"):
        lowest_trainable_layer(scope, 4)


@pytest.mark.parametrize(
    ("scope", "trained"),
    [("all", "lora:4"), ("top_layers:2", "top_layers:1"), ("lora:4:2", "top_layers:1"), ("lora", "lora:4:1")],
)
def test_layers_below_the_windows_are_refused(scope, trained):
    check_window(scope, trained, 1)
    check_window(trained, trained, 4)
    check_window("head", trained, 4)
    with pytest.raises(UserError, match="frame_window"):
        check_window(scope, trained, 4)


def test_the_rank_is_read_from_the_scope():
    scopes = ("lora:3", "lora:2:1", "lora", "head")
    assert [lora_rank(scope) for scope in scopes] == [3, 2, DEFAULT_RANK, None]
