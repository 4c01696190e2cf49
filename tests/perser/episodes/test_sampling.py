from itertools import chain, combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.episodes.sampling import MODES, draw_pairs, evenly_spaced

LABELS = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True).map(tuple), max_size=14
)


def proper_subsets(labels):
    """Return all non-empty proper subsets of the emotions that occur."""
    occurring = sorted(set(chain.from_iterable(labels)))
    return [set(subset) for size in range(1, len(occurring)) for subset in combinations(occurring, size)]


def can_be_drawn(labels, num_support, num_query, mode) -> bool:
    """Return whether some subset of the emotions leaves enough pairs."""
    if mode == "any":
        return len(labels) >= num_support + num_query
    for subset in proper_subsets(labels):
        known = [pair for pair in labels if set(pair) <= subset]
        other = [pair for pair in labels if not set(pair) & subset]
        left = len(other) if mode == "missing" else len(labels) - num_support
        if len(known) >= num_support and left >= num_query:
            return True
    return False


@given(LABELS, st.integers(0, 5), st.integers(1, 3), st.sampled_from(MODES), st.integers(0, 99))
def test_a_draw_satisfies_its_mode_and_exists_if_possible(labels, num_support, num_query, mode, seed):
    drawn = draw_pairs(labels, num_support, num_query, mode, np.random.default_rng(seed))
    assert (drawn is not None) == can_be_drawn(labels, num_support, num_query, mode)
    if drawn is None:
        return
    support, query = (list(map(int, indices)) for indices in drawn)
    assert (len(support), len(query)) == (num_support, num_query)
    assert len({*support, *query}) == num_support + num_query
    known = set(chain.from_iterable(labels[index] for index in support))
    if mode != "any":
        assert known < set(chain.from_iterable(labels))
    if mode == "missing":
        assert not known & set(chain.from_iterable(labels[index] for index in query))


def test_all_subsets_of_the_emotions_are_equally_likely():
    labels = [("a",), ("b",), ("c",)] * 10
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(600):
        support, _ = draw_pairs(labels, 10, 3, "restricted", rng)
        known = frozenset(labels[index][0] for index in support)
        counts[known] = counts.get(known, 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) > 60


def test_a_restricted_query_may_have_every_emotion():
    labels = [("a",), ("b",), ("c",)] * 10
    support, query = draw_pairs(labels, 5, 25, "restricted", np.random.default_rng(0))
    assert {labels[index] for index in query} == {("a",), ("b",), ("c",)}
    assert len({labels[index] for index in support}) < 3


def test_a_restricted_query_favors_no_emotion():
    """Of 40 pairs of two emotions, ten of one are enrolled: the other has 20 of the 30 that are left."""
    labels = [("a",), ("b",)] * 20
    rng = np.random.default_rng(0)
    draws = [draw_pairs(labels, 10, 1, "restricted", rng) for _ in range(400)]
    other = np.mean([labels[support[0]] != labels[query[0]] for support, query in draws])
    assert other == pytest.approx(2 / 3, abs=0.07)


@pytest.mark.parametrize("mode", MODES)
def test_a_draw_depends_on_its_generator_alone(mode):
    labels = [("a",), ("b",), ("c", "a")] * 5
    first, again, other = (draw_pairs(labels, 3, 2, mode, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [list(indices) for indices in first] == [list(indices) for indices in again]
    assert [list(indices) for indices in first] != [list(indices) for indices in other]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 9, 10, 11])
def test_items_are_evenly_spaced_from_the_first_and_not_too_many(most):
    chosen = evenly_spaced(range(10), most)
    assert chosen[0] == 0
    assert len(chosen) <= most
    assert len({after - before for before, after in pairwise(chosen)}) <= 1
    assert most < 10 or list(chosen) == list(range(10))
