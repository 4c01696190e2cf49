from itertools import combinations

import numpy as np
import torch

from speechlm_icl.prompt.demonstrations import most_representative, similarities


def value(similar: np.ndarray, labels: np.ndarray, chosen) -> float:
    """The objective, pair by pair."""
    return sum(
        max(similar[i, j] * labels[j, y] for j in chosen)
        for y in range(labels.shape[1])
        for i in range(len(labels))
        if labels[i, y]
    )


def test_the_choice_is_near_the_best_of_all_choices():
    rng = np.random.default_rng(0)
    for _ in range(20):
        similar = similarities(torch.from_numpy(rng.standard_normal((8, 3))))
        labels = np.maximum(np.eye(3)[rng.integers(3, size=8)], np.eye(3)[rng.integers(3, size=8)])
        best = max(value(similar, labels, chosen) for chosen in combinations(range(8), 3))
        found = value(similar, labels, most_representative(similar, labels, 3))
        assert (1 - 1 / np.e) * best <= found <= best + 1e-9


def test_every_emotion_gets_an_example_and_the_enrollments_order_stays():
    labels = np.eye(3)[[0] * 6 + [1, 2]]
    chosen = most_representative(np.ones((8, 8)), labels, 3)
    assert chosen.tolist() == [0, 6, 7]


def test_as_many_as_there_are_are_all():
    similar = similarities(torch.randn(5, 2, 3))
    assert most_representative(similar, np.eye(2)[[0, 0, 1, 1, 1]], 5).tolist() == [0, 1, 2, 3, 4]


def test_a_clip_amid_its_own_is_chosen_before_one_far_from_them():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]])
    unit = points / points.norm(dim=1, keepdim=True)
    chosen = most_representative(((1 + unit @ unit.T) / 2).numpy(), np.ones((4, 1)), 1)
    assert chosen.tolist() == [0]


def test_similarities_do_not_depend_on_scale_or_on_what_all_clips_share():
    features = torch.randn(6, 2, 3, dtype=torch.float64)
    moved = features * torch.tensor([1.0, 1000.0, 0.01]) + 7
    np.testing.assert_allclose(similarities(moved), similarities(features), atol=1e-6)
    np.testing.assert_allclose(np.diag(similarities(features)), 1)
