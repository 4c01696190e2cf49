"""Few of many, from all over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly_spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the items (at least one), evenly spaced; all of them where there are no more."""
    return items[:: -(-len(items) // most)]
