"""Which pairs of an enrollment are read, in which orders, and the options in a method's name."""

from itertools import combinations

import numpy as np
import pytest
import torch

from perser.episodes.episode import Support
from perser.errors import UserError
from speechlm_icl.prompt.demonstrations import (
    DemonstrationOptions,
    most_representative,
    parse_demonstration_options,
    reorderings,
    similarities,
)

SUPPORT = Support(tuple("abcdef"), tuple((word,) for word in "123456"), seed=3)


def objective(similar: np.ndarray, labels: np.ndarray, chosen) -> float:
    """The facility location function, pair by pair."""
    return sum(
        max(similar[i, j] * labels[j, y] for j in chosen)
        for y in range(labels.shape[1])
        for i in range(len(labels))
        if labels[i, y]
    )


def test_the_greedy_choice_is_within_its_bound_of_the_optimum():
    rng = np.random.default_rng(0)
    for _ in range(20):
        similar = similarities(torch.from_numpy(rng.standard_normal((8, 3))))
        labels = np.maximum(np.eye(3)[rng.integers(3, size=8)], np.eye(3)[rng.integers(3, size=8)])
        best = max(objective(similar, labels, chosen) for chosen in combinations(range(8), 3))
        greedy = objective(similar, labels, most_representative(similar, labels, 3))
        assert (1 - 1 / np.e) * best <= greedy <= best + 1e-9


def test_every_emotion_gets_an_example_and_the_order_of_the_enrollment_is_preserved():
    labels = np.eye(3)[[0] * 6 + [1, 2]]
    chosen = most_representative(np.ones((8, 8)), labels, 3)
    assert chosen.tolist() == [0, 6, 7]


def test_choosing_as_many_pairs_as_there_are_chooses_all():
    similar = similarities(torch.randn(5, 2, 3))
    assert most_representative(similar, np.eye(2)[[0, 0, 1, 1, 1]], 5).tolist() == [0, 1, 2, 3, 4]


def test_a_clip_in_the_middle_of_a_cluster_is_chosen_before_an_outlier():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]])
    unit = points / points.norm(dim=1, keepdim=True)
    chosen = most_representative(((1 + unit @ unit.T) / 2).numpy(), np.ones((4, 1)), 1)
    assert chosen.tolist() == [0]


def test_similarities_do_not_depend_on_scale_or_on_what_all_clips_share():
    features = torch.randn(6, 2, 3, dtype=torch.float64)
    moved = features * torch.tensor([1.0, 1000.0, 0.01]) + 7
    np.testing.assert_allclose(similarities(moved), similarities(features), atol=1e-6)
    np.testing.assert_allclose(np.diag(similarities(features)), 1)


def pairs(support: Support) -> list:
    return list(zip(support.utterances, support.emotions, strict=True))


def test_the_first_order_is_the_supports_own_and_pairs_stay_together():
    orders = reorderings(SUPPORT, 5)
    assert orders[0] == SUPPORT
    assert len(orders) == 5
    assert all(sorted(pairs(support)) == pairs(SUPPORT) for support in orders)
    assert len({support.utterances for support in orders}) > 1


def test_orders_depend_only_on_the_supports_seed_and_a_longer_list_begins_with_the_shorter():
    orders = reorderings(SUPPORT, 5)
    assert reorderings(SUPPORT, 3) == orders[:3]
    other_seed = reorderings(Support(SUPPORT.utterances, SUPPORT.emotions, seed=4), 4)
    assert [support.utterances for support in other_seed] != [support.utterances for support in orders[:4]]


def test_a_support_of_fewer_than_two_pairs_has_one_order():
    assert reorderings(SUPPORT.first(1), 4) == [SUPPORT.first(1)]
    assert reorderings(SUPPORT.first(0), 4) == [SUPPORT.first(0)]


def test_a_support_can_be_cut_to_some_of_its_pairs():
    assert pairs(SUPPORT.ordered(np.array([4, 1]))) == [("e", ("5",)), ("b", ("2",))]


def test_options_are_parsed_from_a_methods_name():
    assert parse_demonstration_options([]) == DemonstrationOptions()
    options = parse_demonstration_options(["calibrated", "orders=4", "chosen"])
    assert options == DemonstrationOptions(orders=4, calibrated=True, chosen=True)


@pytest.mark.parametrize(
    "wrong", [["orders"], ["order=4"], ["orders=x"], ["calibrated=1"], [""], ["chosen"] * 2]
)
def test_unknown_and_repeated_options_are_refused_with_the_list_of_options(wrong):
    with pytest.raises(UserError, match=r"the options are orders=N, calibrated, chosen"):
        parse_demonstration_options(wrong)


def test_zero_orders_are_refused():
    with pytest.raises(UserError, match="orders must be at least 1"):
        parse_demonstration_options(["orders=0"])
    with pytest.raises(ValueError, match="orders"):
        DemonstrationOptions(orders=0)
