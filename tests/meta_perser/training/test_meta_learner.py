"""The whole inner loop and outer loss on real recognizers, small and in float64."""

from __future__ import annotations

import weakref

import higher
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from meta_perser.adaptation.adaptation_loss import loss_on
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate, LearnedRates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import LslrOptions
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.outer_loop import MetaLearner
from perser.encoders.encoder import SpeechEncoder
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy, smooth_macro_f1_loss

MEMORIES = ("unroll", "adjoint", "adjoint_host")
MIXED = StepSchedule((False, True, True), (0.0, 0.3, 0.2))
"""First order, then second, and losses on the way."""


def recognizer(encoder, scope):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name(encoder), EmotionSet(("a", "b", "c")), scope, 8)
    for parameter in model.trainable_parameters().values():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model.double()


def examples(model, seed=1, lengths=(9, 14, 30, 12)):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    below = 0 if model.lowest_layer is None else model.lowest_layer + 1
    width = model.encoder.front_size if model.lowest_layer is None else model.encoder.hidden_size
    clips = [draw(length, width) for length in lengths]
    lower = draw(len(lengths), below, model.encoder.hidden_size)
    return ClipBatch(lower, bucketed(clips)), draw(len(lengths), 3).softmax(dim=-1)


def learner_of(model, memory="unroll", steps=3, clips_at_once=None, f1_weight=0.0):
    options = LslrOptions(relative=False)
    rates = LearnedRates(list(model.trainable_parameters()), steps, 0.05, options).double()
    rates.rates.data.copy_(torch.linspace(0.02, 0.08, rates.rates.numel()).view_as(rates.rates))
    loss = class_balanced_cross_entropy
    return MetaLearner(model, rates, loss, memory, clips_at_once=clips_at_once, f1_weight=f1_weight)


def trained_parameters(learner):
    return [parameter for parameter in learner.parameters() if parameter.requires_grad]


def outer_gradients(learner, plan, *sets):
    parameters = trained_parameters(learner)
    return torch.autograd.grad(learner(plan, 0.5, *sets), parameters)


@pytest.mark.parametrize("scope", ["all", "top_layers:1"])
@pytest.mark.parametrize("encoder", ["tiny-wav2vec2", "tiny-whisper"])
def test_all_memories_give_the_same_outer_gradients(encoder, scope):
    model = recognizer(encoder, scope)
    sets = [examples(model, 1), examples(model, 2)]
    for given in (sets[:1], sets):
        unrolled = outer_gradients(learner_of(model), MIXED, *given)
        for memory in MEMORIES[1:]:
            found = outer_gradients(learner_of(model, memory), MIXED, *given)
            for got, wanted in zip(found, unrolled, strict=True):
                assert (got - wanted).norm() <= 1e-6 * wanted.norm() + 1e-15


@pytest.mark.parametrize("clips_at_once", [1, 3, 100])
@pytest.mark.parametrize("encoder", ["tiny-wav2vec2", "tiny-whisper", "head"])
def test_clips_a_few_at_a_time_give_the_same_outer_gradients(encoder, clips_at_once):
    model = recognizer("tiny-whisper", "head") if encoder == "head" else recognizer(encoder, "all")
    read = head_examples if encoder == "head" else examples
    sets = [read(model, 1), read(model, 2)]
    for given in (sets[:1], sets):
        together = outer_gradients(learner_of(model), MIXED, *given)
        apart = outer_gradients(learner_of(model, "adjoint", clips_at_once=clips_at_once), MIXED, *given)
        for got, wanted in zip(apart, together, strict=True):
            assert (got - wanted).norm() <= 1e-6 * wanted.norm() + 1e-15


def test_clips_a_few_at_a_time_need_less_memory():
    model = recognizer("tiny-whisper", "top_layers:1")
    assert peak_bytes(model, "adjoint", 3, clips_at_once=2) < 0.5 * peak_bytes(model, "adjoint", 3)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("encoder", ["tiny-wav2vec2", "tiny-whisper"])
def test_outer_gradients_agree_with_finite_differences(encoder, memory):
    """Along one random direction through all weights and rates at once."""
    model = recognizer(encoder, "all")
    learner, support = learner_of(model, memory), examples(model)
    plan = StepSchedule((True,) * 3, (0.0, 0.3, 0.2))
    gradients = outer_gradients(learner, plan, support)
    direction = [torch.randn_like(gradient) for gradient in gradients]
    expected = sum((a * b).sum() for a, b in zip(gradients, direction, strict=True))
    size, values = 1e-5, []
    for sign in (1, -1):
        for one, along in zip(trained_parameters(learner), direction, strict=True):
            one.data.add_(sign * size * along)
        values.append(learner(plan, 0.5, support).item())
        for one, along in zip(trained_parameters(learner), direction, strict=True):
            one.data.sub_(sign * size * along)
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("memory", MEMORIES)
def test_outer_gradients_are_those_of_the_library_higher(memory):
    model = recognizer("tiny-whisper", "top_layers:1")
    batch, targets = examples(model)
    learner = learner_of(model, memory)
    ours = outer_gradients(learner, StepSchedule.plain(3), (batch, targets))
    moving = list(model.trainable_parameters().values())
    optimizer = torch.optim.SGD([{"params": [parameter]} for parameter in moving], lr=0.1)
    rates = learner.rates.rates
    with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, steps):
        for step in range(3):
            value = class_balanced_cross_entropy(fast(batch), targets)
            steps.step(value, override={"lr": list(rates[:, step].unbind())})
        outer = 0.5 * class_balanced_cross_entropy(fast(batch), targets)
        theirs = torch.autograd.grad(outer, [*moving, rates])
    for got, wanted in zip(ours, theirs, strict=True):
        assert (got - wanted).norm() <= 1e-6 * wanted.norm() + 1e-15


@pytest.mark.parametrize("memory", MEMORIES)
def test_train_mode_adds_no_randomness(memory):
    """Dropout, layer drop and masking are off in the loop, so training mode changes nothing."""
    model = recognizer("tiny-wav2vec2", "all")
    learner, support = learner_of(model, memory), examples(model)
    evaluated, trained = (outer_gradients(learner.train(mode), MIXED, support) for mode in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(evaluated, trained, strict=True))


@pytest.mark.parametrize("memory", MEMORIES)
def test_under_bf16_weights_rates_and_gradients_stay_float32(memory):
    model = recognizer("tiny-whisper", "all")
    support = examples(model)
    exact = outer_gradients(learner_of(model, memory), MIXED, support)
    model.float()
    batch, targets = support
    buckets = tuple(
        type(bucket)(bucket.frames.float(), bucket.mask, bucket.positions) for bucket in batch.buckets
    )
    halves, fast = [], []
    model.encoder.model.layers[0].fc1.register_forward_hook(lambda _, __, out: halves.append(out.dtype))
    model.register_forward_pre_hook(
        lambda module, _: fast.extend(parameter.dtype for parameter in module.parameters())
    )
    learner = learner_of(model, memory).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outer = learner(MIXED, 0.5, (ClipBatch(batch.lower.float(), buckets), targets.float()))
    outer.backward()  # outside autocast, as accelerate has it
    found = [parameter.grad for parameter in trained_parameters(learner)]
    assert set(halves) == {torch.bfloat16}
    assert set(fast) == {torch.float32}
    assert outer.dtype == torch.float32
    assert {gradient.dtype for gradient in found} == {torch.float32}
    together = [torch.cat([gradient.flatten().double() for gradient in some]) for some in (found, exact)]
    assert torch.cosine_similarity(*together, dim=0) > 0.99


class PeakBytes(TorchDispatchMode):
    """The most bytes of tensor storage that were alive at once, of what was made under this mode."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage):
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = None
        weakref.finalize(storage, self._release, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _release(self, size):
        self.now -= size


def peak_bytes(model, memory, steps, clips_at_once=None):
    learner = learner_of(model, memory, steps, clips_at_once)
    support = examples(model, lengths=(60,) * 8)
    with PeakBytes() as peak:
        learner(StepSchedule.plain(steps), 1.0, support).backward()
    return peak.most


@pytest.mark.parametrize(("memory", "most"), [("adjoint", 1.3)])
def test_memory_hardly_grows_with_the_inner_steps(memory, most):
    model = recognizer("tiny-whisper", "top_layers:1")
    assert peak_bytes(model, memory, 20) <= most * peak_bytes(model, memory, 5)


def test_memory_of_the_unrolled_loop_does_grow():
    """So the measure above sees what it is to see."""
    model = recognizer("tiny-whisper", "top_layers:1")
    assert peak_bytes(model, "unroll", 20) > 3 * peak_bytes(model, "unroll", 5)


def test_a_wrapper_sees_every_gradient():
    """What goes through the module's forward alone reaches weights and rates: no way around a wrapper."""
    model = recognizer("tiny-whisper", "top_layers:1")
    wrapped = nn.ModuleList([learner_of(model)])
    wrapped[0](MIXED, 0.5, examples(model)).backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in trained_parameters(wrapped)
    )


def head_examples(model, seed=1):
    """Examples of which the head alone is computed."""
    batch, targets = examples(model, seed)
    return ClipBatch(batch.lower), targets


def test_reptile_follows_the_weights_to_where_the_inner_loop_leads():
    model = recognizer("tiny-whisper", "head")
    support = head_examples(model)
    rates = ConstantRate(list(model.trainable_parameters()), 0.05).double()
    learner = MetaLearner(model, rates, class_balanced_cross_entropy, update="reptile")
    value = learner(StepSchedule.plain(3), 1.0, support)
    value.backward()
    optimizer = torch.optim.SGD(list(model.trainable_parameters().values()), lr=0.05)
    gradients = {name: one.grad.clone() for name, one in model.trainable_parameters().items()}
    before = {name: one.detach().clone() for name, one in model.trainable_parameters().items()}
    for _ in range(3):
        optimizer.zero_grad()
        class_balanced_cross_entropy(model(support[0]), support[1]).backward()
        optimizer.step()
    for name, one in model.trainable_parameters().items():
        torch.testing.assert_close(gradients[name], before[name] - one.detach())
    torch.testing.assert_close(
        value.detach(), class_balanced_cross_entropy(model(support[0]), support[1]).detach()
    )


@pytest.mark.parametrize("memory", MEMORIES)
def test_tensors_without_a_rate_stay_in_the_inner_loop_and_get_the_outer_gradient(memory):
    """ANIL: the inner loop moves the classifier alone, and the outer gradient goes through it to the rest."""
    model = recognizer("tiny-whisper", "head")
    names = list(model.trainable_parameters())
    initial = {name: 0.1 * name.startswith("classifier.") for name in names}
    rates = LearnedRates(names, 2, initial).double()
    support, query = head_examples(model), head_examples(model, seed=2)
    learner = MetaLearner(model, rates, class_balanced_cross_entropy, memory)
    learner(StepSchedule.plain(2), 1.0, support, query).backward()

    def outer(theta):
        states = [model.states(batch) for batch, _ in (support, query)]
        last = (theta["classifier.weight"], theta["classifier.bias"])

        def value(last, states, targets):
            embedded = torch.einsum("l,bld->bd", theta["layer_logits"].softmax(0), states)
            hidden = embedded @ theta["projector.weight"].T + theta["projector.bias"]
            return class_balanced_cross_entropy(hidden @ last[0].T + last[1], targets)

        for _ in range(2):
            steps = torch.autograd.grad(value(last, states[0], support[1]), last, create_graph=True)
            last = tuple(weight - 0.1 * step for weight, step in zip(last, steps, strict=True))
        return value(last, states[1], query[1])

    theta = dict(model.trainable_parameters())
    wanted = torch.autograd.grad(outer(theta), list(theta.values()))
    for (name, parameter), gradient in zip(theta.items(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=name)
    adapted = adapt(model, rates, *support, class_balanced_cross_entropy, 2)
    assert list(adapted) == names
    for name, parameter in theta.items():
        assert torch.equal(adapted[name], parameter) != name.startswith("classifier."), name


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_smooth_macro_f1_is_added_to_the_loss_on_the_query_alone(memory):
    model = recognizer("tiny-hubert", "top_layers:1")
    support, query = examples(model), examples(model, seed=2)
    learner = learner_of(model, memory)
    adapted = adapt(model, learner.rates, *support, class_balanced_cross_entropy, 3)
    schedule = StepSchedule((True, True, True), (0.0, 0.0, 0.0))
    plain = learner(schedule, 1.0, support, query)
    both = learner_of(model, memory, f1_weight=0.5)(schedule, 1.0, support, query)
    added = 0.5 * loss_on(model, smooth_macro_f1_loss, *query)(adapted)
    assert (both - plain).item() == pytest.approx(added.item(), rel=1e-9)
