from __future__ import annotations

from itertools import pairwise

import pytest

from perser.episodes.sampling import evenly_spaced


@pytest.mark.parametrize("most", [1, 2, 3, 7, 9, 10, 11])
def test_no_more_than_asked_for_equally_far_apart_from_the_first_on(most):
    chosen = evenly_spaced(range(10), most)
    assert chosen[0] == 0
    assert len(chosen) <= most
    assert len({after - one for one, after in pairwise(chosen)}) <= 1
    assert most < 10 or list(chosen) == list(range(10))
