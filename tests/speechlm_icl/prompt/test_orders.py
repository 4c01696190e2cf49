import numpy as np

from perser.episodes.episode import Support
from speechlm_icl.prompt.demonstrations import orders

SUPPORT = Support(tuple("abcdef"), tuple((word,) for word in "123456"), seed=3)


def pairs(support: Support) -> list:
    return list(zip(support.utterances, support.emotions, strict=True))


def test_the_first_order_is_the_supports_own_and_pairs_stay_together():
    found = orders(SUPPORT, 5)
    assert found[0] == SUPPORT
    assert len(found) == 5
    assert all(sorted(pairs(one)) == pairs(SUPPORT) for one in found)
    assert len({one.utterances for one in found}) > 1


def test_orders_depend_on_the_supports_seed_alone_and_more_begin_as_fewer():
    assert orders(SUPPORT, 3) == orders(SUPPORT, 5)[:3]
    other = Support(SUPPORT.utterances, SUPPORT.emotions, seed=4)
    assert [one.utterances for one in orders(other, 4)] != [one.utterances for one in orders(SUPPORT, 4)]


def test_nothing_to_reorder_is_read_once():
    assert orders(SUPPORT.first(1), 4) == [SUPPORT.first(1)]
    assert orders(SUPPORT.first(0), 4) == [SUPPORT.first(0)]


def test_a_part_of_the_pairs_can_be_taken():
    assert pairs(SUPPORT.ordered(np.array([4, 1]))) == [("e", ("5",)), ("b", ("2",))]
