from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.episodes.sampling import MODES, draw_pairs

LABELS = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True).map(tuple), max_size=14
)


def parts(labels):
    """Every true, non-empty part of the emotions that occur, the plain way."""
    occurring = sorted(set(chain.from_iterable(labels)))
    return [set(part) for size in range(1, len(occurring)) for part in combinations(occurring, size)]


def fits(labels, enrolled, asked, mode) -> bool:
    """Whether some part leaves enough pairs."""
    if mode == "any":
        return len(labels) >= enrolled + asked
    for part in parts(labels):
        known = [one for one in labels if set(one) <= part]
        other = [one for one in labels if not set(one) & part]
        left = len(other) if mode == "missing" else len(labels) - enrolled
        if len(known) >= enrolled and left >= asked:
            return True
    return False


@given(LABELS, st.integers(0, 5), st.integers(1, 3), st.sampled_from(MODES), st.integers(0, 99))
def test_a_draw_keeps_its_modes_promise_and_exists_where_it_can(labels, enrolled, asked, mode, seed):
    drawn = draw_pairs(labels, enrolled, asked, mode, np.random.default_rng(seed))
    assert (drawn is not None) == fits(labels, enrolled, asked, mode)
    if drawn is None:
        return
    support, query = (list(map(int, places)) for places in drawn)
    assert (len(support), len(query)) == (enrolled, asked)
    assert len({*support, *query}) == enrolled + asked
    told = set(chain.from_iterable(labels[place] for place in support))
    if mode != "any":
        assert told < set(chain.from_iterable(labels))
    if mode == "missing":
        assert not told & set(chain.from_iterable(labels[place] for place in query))


def test_every_part_of_the_emotions_is_as_likely():
    labels = [("a",), ("b",), ("c",)] * 10
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(600):
        support, _ = draw_pairs(labels, 10, 3, "restricted", rng)
        told = frozenset(labels[place][0] for place in support)
        counts[told] = counts.get(told, 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) > 60


def test_with_restricted_every_emotion_may_be_asked():
    labels = [("a",), ("b",), ("c",)] * 10
    support, query = draw_pairs(labels, 5, 25, "restricted", np.random.default_rng(0))
    assert {labels[place] for place in query} == {("a",), ("b",), ("c",)}
    assert len({labels[place] for place in support}) < 3


def test_with_restricted_the_query_leans_to_no_emotion():
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
    assert [list(one) for one in first] == [list(one) for one in again]
    assert [list(one) for one in first] != [list(one) for one in other]
