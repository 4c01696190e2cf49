"""Choose some of many: a support and a query from a person's pairs, or evenly spaced items of a list.

People rarely have examples of all emotions, so in-context personalization must also work with enrollments
that lack some (Ihori et al. 2025, arXiv 2509.08344). `EnrollmentMode` says whether a support may lack
emotions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import numpy as np

from perser.labels import Emotions

EnrollmentMode = Literal["any", "restricted", "missing"]
"""Which emotions a support and its query have.

`any`: any. `restricted`: the support has only some of the person's emotions, the query may have all.
`missing`: the support has only some, and the query has none of these."""

MODES: tuple[EnrollmentMode, ...] = get_args(EnrollmentMode)

Item = TypeVar("Item")


def draw_pairs(
    labels: Sequence[Emotions],
    num_support: int,
    num_query: int,
    mode: EnrollmentMode,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw a support and a query from the pairs of one person, as indices into `labels` in random order.

    They share no pair. In the modes other than `any`, the emotions that the support may have are drawn too: a
    non-empty proper subset of the person's emotions that leaves enough pairs, all subsets being equally
    likely. Returns None if the person has too few pairs.
    """
    order = rng.permutation(len(labels))
    if mode == "any":
        enough = len(labels) >= num_support + num_query
        return (order[:num_support], order[num_support : num_support + num_query]) if enough else None
    emotions, subsets = _as_bits(labels, order)
    inside = (emotions & ~subsets) == 0  # (subsets, pairs): whether the subset has all emotions of the pair
    left = ~(inside & (inside.cumsum(axis=1) <= num_support))
    queryable = left if mode == "restricted" else (emotions & subsets) == 0
    possible = np.flatnonzero((inside.sum(axis=1) >= num_support) & (queryable.sum(axis=1) >= num_query))
    if not len(possible):
        return None
    subset = rng.choice(possible)
    # Shuffled again: the pairs that the support leaves begin with the emotions that it may not have.
    return order[inside[subset]][:num_support], rng.permutation(order[queryable[subset]])[:num_query]


def _as_bits(labels: Sequence[Emotions], order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return label sets and sets of emotions as integers with one bit per emotion.

    The first array, (pairs,), has the label set of each pair in the given order. The second, (subsets, 1),
    has all non-empty proper subsets of the emotions that occur.
    """
    bit = {emotion: 1 << number for number, emotion in enumerate(sorted(set().union(*labels)))}
    emotions = np.array([sum(bit[word] for word in set(labels[index])) for index in order], dtype=np.int64)
    return emotions, np.arange(1, (1 << len(bit)) - 1)[:, None]


def evenly_spaced(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return at most `most` (1 or more) of the items, evenly spaced; all of them if there are no more."""
    return items[:: -(-len(items) // most)]
