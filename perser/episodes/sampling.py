"""Which of a person's pairs are enrolled and which are asked: `any`, `restricted` or `missing`.

In-context personalization has to cope with enrollments that lack emotions (Ihori et al. 2025,
arXiv 2509.08344): people rarely have examples of all of them.

Few of many, from all over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

from perser.labels import Emotions

EnrollmentMode = Literal["any", "restricted", "missing"]
"""`any`: whatever comes. `restricted`: only some of the person's emotions are enrolled, all may be asked.
`missing`: only some are enrolled, and what is asked has none of these."""

MODES: tuple[EnrollmentMode, ...] = get_args(EnrollmentMode)


def draw_pairs(
    labels: Sequence[Emotions], enrolled: int, asked: int, mode: EnrollmentMode, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray] | None:
    """Places of `enrolled` and of `asked` different pairs of one person, in random order.

    The emotions that may be enrolled are drawn too: any true part of the person's emotions that leaves
    enough pairs, each as likely as any other. None where there are too few pairs.
    """
    order = rng.permutation(len(labels))
    if mode == "any":
        enough = len(labels) >= enrolled + asked
        return (order[:enrolled], order[enrolled : enrolled + asked]) if enough else None
    heard, parts = _as_bits(labels, order)
    known = (heard & ~parts) == 0  # (parts, pairs): all of a pair's emotions lie in the part
    left = ~(known & (known.cumsum(axis=1) <= enrolled))
    other = left if mode == "restricted" else (heard & parts) == 0
    fitting = np.flatnonzero((known.sum(axis=1) >= enrolled) & (other.sum(axis=1) >= asked))
    if not len(fitting):
        return None
    part = rng.choice(fitting)
    # Shuffled anew: what the enrollment left of the order begins with the emotions that it may not have.
    return order[known[part]][:enrolled], rng.permutation(order[other[part]])[:asked]


def _as_bits(labels: Sequence[Emotions], order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The emotions of every pair, in this order, one bit an emotion (pairs,), and every part of the emotions
    that occur but none and all of them (parts, 1)."""
    bit = {emotion: 1 << place for place, emotion in enumerate(sorted(set().union(*labels)))}
    heard = np.array([sum(bit[emotion] for emotion in set(labels[place])) for place in order], dtype=np.int64)
    return heard, np.arange(1, (1 << len(bit)) - 1)[:, None]


T = TypeVar("T")


def evenly_spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the items (at least one), evenly spaced; all of them where there are no more."""
    return items[:: -(-len(items) // most)]
