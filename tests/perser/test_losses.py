import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perser.losses import class_balanced_cross_entropy, class_balanced_weights, smooth_macro_f1_loss
from perser.metrics import score_episode


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.4, 0.6, 1.0, 2.0], dtype=torch.float64)
    return logits, targets / targets.sum(dim=1, keepdim=True), weights


def naive_loss(logits, targets, weights, smoothing):
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        smooth = [(1 - smoothing) * y + smoothing / len(row) for y in target]
        cross_entropy = -sum(y * (value - norm) for y, value in zip(smooth, row, strict=True))
        total += sum(w * y for w, y in zip(weights.tolist(), target, strict=True)) * cross_entropy
    return total / len(logits)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=9), st.integers(0, 1000))
def test_weights_are_the_formula_of_cui_et_al(counts, more):
    num_samples = max(2, max(counts) + more)
    beta = (num_samples - 1) / num_samples
    raw = [(1 - beta) / (1 - beta**count) for count in counts]
    expected = [weight * len(counts) / sum(raw) for weight in raw]
    assert class_balanced_weights(counts, num_samples).tolist() == pytest.approx(expected, rel=1e-4)


def test_weights_sum_to_the_number_of_classes_and_favor_the_rare():
    weights = class_balanced_weights([2440, 2158, 120, 70], 10_039)
    assert float(weights.sum()) == pytest.approx(4)
    assert weights.tolist() == sorted(weights.tolist())


def test_a_class_that_never_occurs_weighs_as_one_occurrence():
    assert torch.equal(class_balanced_weights([50, 0], 60), class_balanced_weights([50, 1], 60))


def test_weights_are_exact_if_beta_is_nearly_one():
    weights = class_balanced_weights([10**9, 10], 10**10)
    # For n far below N the effective number is n itself; 10^9 of 10^10 lose about 5 percent to overlap.
    assert float(weights[1] / weights[0]) == pytest.approx(10**8 * 0.9516, rel=1e-3)


def test_one_sample_is_enough():
    assert class_balanced_weights([1, 0], 1).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("counts", "num_samples"), [([-1, 2], 5), ([6, 2], 5), ([1], 0), ([[1, 2]], 5)])
def test_impossible_counts_are_refused(counts, num_samples):
    with pytest.raises(ValueError, match="positive counts"):
        class_balanced_weights(counts, num_samples)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_loss_equals_a_naive_loop(batch, smoothing):
    loss = class_balanced_cross_entropy(*batch, label_smoothing=smoothing)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(naive_loss(*batch, smoothing), rel=1e-12)


def test_one_hot_targets_give_torchs_weighted_loss_over_the_batch_size(batch):
    logits, _, weights = batch
    classes = torch.tensor([0, 3, 1, 1, 2, 0])
    targets = torch.nn.functional.one_hot(classes, 4).double()
    oracle = torch.nn.functional.cross_entropy(logits, classes, weight=weights, reduction="sum") / 6
    torch.testing.assert_close(class_balanced_cross_entropy(logits, targets, weights), oracle)


def test_equal_weights_are_no_weights(batch):
    logits, targets, _ = batch
    torch.testing.assert_close(
        class_balanced_cross_entropy(logits, targets, torch.ones(4)),
        class_balanced_cross_entropy(logits, targets),
    )


def test_the_loss_has_the_type_of_the_logits(batch):
    logits, targets, weights = batch
    loss = class_balanced_cross_entropy(logits.float(), targets, weights)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(naive_loss(*batch, 0.0), rel=1e-5)


def test_second_derivatives_are_right(batch):
    logits, targets, weights = batch
    logits = logits.requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda x: class_balanced_cross_entropy(x, targets, weights, label_smoothing=0.05), (logits,)
    )


def test_it_runs_under_vmap_of_grad(batch):
    logits, targets, weights = batch
    tasks, wanted = torch.stack([logits, 2 * logits]), torch.stack([targets, targets])
    gradient = torch.func.grad(class_balanced_cross_entropy)
    together = torch.func.vmap(gradient, in_dims=(0, 0, None))(tasks, wanted, weights)
    torch.testing.assert_close(together[1], gradient(2 * logits, targets, weights))


@given(st.integers(0, 1000), st.booleans())
def test_a_narrow_smooth_macro_f1_is_the_metric(seed, several_labels):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(20, 5, generator=generator, dtype=torch.float64)
    labels = torch.nn.functional.one_hot(torch.randint(5, (20,), generator=generator), 5)
    if several_labels:
        labels = labels | (torch.rand(20, 5, generator=generator) < 0.2).long()
    expected = score_episode(logits.softmax(dim=1).numpy(), labels.numpy())["maF1"]
    targets = labels / labels.sum(dim=1, keepdim=True)
    assert 1 - smooth_macro_f1_loss(logits, targets, width=1e-9).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_emotion_that_nobody_heard_or_said_has_an_f1_of_0(dtype):
    logits = torch.tensor([[5.0, 1.0, -1e4], [1.0, 5.0, -1e4]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([[1, 0, 0], [0, 1, 0]])
    loss = smooth_macro_f1_loss(logits, labels, width=0.01)
    assert 1 - loss.item() == pytest.approx(
        score_episode(logits.softmax(1).detach().numpy(), labels.numpy())["maF1"]
    )
    loss.backward()
    assert logits.grad.isfinite().all()


def test_second_derivatives_of_the_smooth_macro_f1_are_right(batch):
    logits, targets, _ = batch
    labels = (targets > targets.mean(dim=1, keepdim=True)).double()
    assert torch.autograd.gradgradcheck(lambda x: smooth_macro_f1_loss(x, labels), (logits.requires_grad_(),))
