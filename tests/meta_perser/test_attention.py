"""Fused attention kernels are used wherever no gradient is differentiated again, with the same results."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from meta_perser.adaptation import adaptation_loss, inner_loop
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.predictor import RecognizerPredictor, embeddings
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training import outer_loop
from meta_perser.training.outer_loop import MetaLearner
from perser.encoders.encoder import SpeechEncoder, use_attention
from perser.labels import EmotionSet
from perser.losses import class_balanced_cross_entropy

SWITCHABLE = ("tiny-wav2vec2", "tiny-hubert", "tiny-data2vec", "tiny-whisper")
LAYERS = 3
MEMORIES = ("unroll", "adjoint")


class FusedCalls(TorchDispatchMode):
    """Counts calls of fused attention kernels, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter(forward=0, backward=0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if "scaled_dot_product" in name:
            self.counts["backward" if "backward" in name else "forward"] += 1
        return func(*args, **(kwargs or {}))


def recognizer(name, attention="eager"):
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name(name, attention=attention)
    return EmotionRecognizer(encoder, EmotionSet(("a", "b", "c")), f"top_layers:{LAYERS}", 8).double()


def examples(model, seed=1):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    width = model.encoder.hidden_size
    clips = [draw(length, width) for length in (9, 14, 30, 12)]
    return ClipBatch(draw(4, 1, width), bucketed(clips)), draw(4, 3).softmax(dim=-1)


def outer_gradients(model, schedule, memory, sets):
    rates = ConstantRate(list(model.trainable_parameters()), 0.05)
    learner = MetaLearner(model, rates, class_balanced_cross_entropy, memory)
    return torch.autograd.grad(learner(schedule, 0.5, *sets), list(model.trainable_parameters().values()))


def use_only_eager(patch):
    """Make every loss use explicit attention."""
    for module in (inner_loop, outer_loop):
        patch.setattr(module, "loss_on", lambda *args, **_: adaptation_loss.loss_on(*args))


@pytest.mark.parametrize("with_query", [False, True])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", SWITCHABLE)
def test_second_order_never_uses_a_fused_kernel(name, memory, with_query, monkeypatch):
    """Not even on an encoder set to fused attention: a fused kernel would raise, and the outer gradients are
    those of explicit attention throughout."""
    model = recognizer(name, attention="sdpa")
    schedule = StepSchedule((False, True, True), (0.0, 0.3, 0.2))
    sets = [examples(model, seed) for seed in ((1, 2) if with_query else (1,))]
    gradients = outer_gradients(model, schedule, memory, sets)
    assert model.encoder.attention == "sdpa"
    use_only_eager(monkeypatch)
    with FusedCalls() as fused:
        expected = outer_gradients(model, schedule, memory, sets)
    assert not fused.counts.total()
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_fused_kernel_in_second_order_would_raise(memory, monkeypatch):
    """So the test above would notice one."""
    model = recognizer("tiny-wav2vec2")
    monkeypatch.setattr(
        outer_loop, "loss_on", lambda *args, **_: adaptation_loss.loss_on(*args, attention="sdpa")
    )
    with pytest.raises(RuntimeError, match=r"derivative for .*scaled_dot_product.* is not implemented"):
        outer_gradients(model, StepSchedule.plain(2), memory, [examples(model)])


@pytest.mark.parametrize(
    ("memory", "orders", "forwards"),
    [
        ("unroll", (False, False, True), 3),  # two steps and the loss after the last
        ("unroll", (True, True, True), 1),
        ("adjoint", (True, True, True), 4),  # its forward pass is of first order throughout
        ("adjoint", (False, False, True), 4),
    ],
)
def test_what_is_differentiated_only_once_uses_fused_kernels(memory, orders, forwards):
    model = recognizer("tiny-whisper")
    support = examples(model)
    runs = LAYERS * len(support[0].buckets)
    with FusedCalls() as fused:
        outer_gradients(model, StepSchedule(orders, (0.0,) * 3), memory, [support])
    assert fused.counts == {"forward": forwards * runs, "backward": forwards * runs}
    assert model.encoder.attention == "eager"


@pytest.mark.parametrize("name", SWITCHABLE)
def test_adaptation_with_fused_kernels_gives_the_same_weights(name, monkeypatch):
    model = recognizer(name)
    batch, targets = examples(model)
    rates = ConstantRate(list(model.trainable_parameters()), 0.05)
    with FusedCalls() as fused:
        adapted = adapt(model, rates, batch, targets, class_balanced_cross_entropy, 4)
    runs = LAYERS * len(batch.buckets)
    # Four steps, and one more forward to see whether the loss is finite.
    assert fused.counts == {"forward": 5 * runs, "backward": 4 * runs}
    use_only_eager(monkeypatch)
    for name, wanted in adapt(model, rates, batch, targets, class_balanced_cross_entropy, 4).items():
        torch.testing.assert_close(adapted[name], wanted, rtol=1e-9, atol=1e-12)


def test_predictions_use_fused_kernels(toy_corpus, tmp_path):
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "all", 8)
    source = ClipSource(toy_corpus.recordings, model, tmp_path)
    utterances = toy_corpus.recordings.utterance_ids[:3]
    runs = LAYERS * len(source.batch(utterances).buckets)
    for compute in (RecognizerPredictor(model, source, {}).logits, partial(embeddings, model, source)):
        with FusedCalls() as fused:
            compute(utterances)
        assert fused.counts == {"forward": runs, "backward": 0}


def test_the_attention_setting_is_restored_after_an_error():
    encoder = SpeechEncoder.from_name("tiny-whisper")
    outer = torch.nn.ModuleList([encoder, torch.nn.Linear(2, 2)])
    seen = []

    def record():
        seen.append((encoder.attention, encoder.model.config._attn_implementation))

    def fail_within():
        with use_attention(outer, "sdpa"):
            record()
            with use_attention(outer, "eager"):
                record()
            record()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    record()
    assert seen == [(attention, attention) for attention in ("sdpa", "eager", "sdpa", "eager")]
