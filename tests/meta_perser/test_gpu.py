"""Steps on a stand-in for a GPU: all tensors are there, and none of their values is read within a step.

Tensors on the device `meta` have shapes but no values. Whatever reads a value fails; on a GPU, the program
would wait there.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from meta_perser.adaptation import inner_loop as inner_loop_module
from meta_perser.adaptation.adaptation_loss import class_balanced_loss
from meta_perser.adaptation.batched_adaptation import adapt_batched
from meta_perser.adaptation.inner_loop import STEPS_PER_CHECK, adapt
from meta_perser.adaptation.lslr import ConstantRate, make_rates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import LslrOptions
from meta_perser.recognizer import clip_batch
from meta_perser.recognizer.clip_batch import ClipBatch, bucketed, stacked_buckets
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.outer_loop import MetaLearner
from perser.encoders.encoder import SpeechEncoder
from perser.labels import EmotionSet

DEVICE = torch.device("meta")
LOSS = class_balanced_loss(torch.ones(2, device=DEVICE))
LABELS = [("a",), ("b",)]


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """Leave autocast out, which does not know the device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device_type: torch.bfloat16)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)


class TensorsElsewhere(TorchDispatchMode):
    """Notes operations that read a tensor on the CPU, which would be copied to a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if any(tensor.device.type == "cpu" for tensor in read):
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


def recognizer(encoder: str, scope: str) -> EmotionRecognizer:
    return EmotionRecognizer(SpeechEncoder.from_name(encoder), EmotionSet(("a", "b")), scope, 8).to(DEVICE)


def clips(width: int) -> list[torch.Tensor]:
    return [torch.ones(length, width) for length in (30, 40)]


def support(model: EmotionRecognizer) -> ClipBatch:
    """Return two clips of different lengths."""
    return ClipBatch(
        torch.zeros(2, 0, model.encoder.hidden_size), bucketed(clips(model.encoder.front_size))
    ).to(DEVICE)


@pytest.mark.parametrize("memory", ["unroll", "adjoint"])
@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("encoder", ["tiny-wav2vec2", "tiny-wavlm", "tiny-whisper"])
def test_a_persons_part_of_a_meta_training_step_reads_no_value(encoder, memory, second_order):
    model = recognizer(encoder, "all")
    rates = make_rates(list(model.trainable_parameters()), 2, 0.1, LslrOptions()).to(DEVICE)
    learner = MetaLearner(model, rates, LOSS, memory)
    examples = support(model), model.targets(LABELS)
    with TensorsElsewhere() as elsewhere:
        learner(StepSchedule.plain(2, second_order), 1.0, examples).backward()
    assert elsewhere.operations == []
    assert all(weight.grad is not None for weight in learner.parameters() if weight.requires_grad)


def test_adaptation_reads_the_first_value_after_many_steps(monkeypatch):
    monkeypatch.setattr(inner_loop_module, "is_gpu", lambda device: True)
    model = recognizer("tiny-wav2vec2", "all")
    rates = ConstantRate(list(model.trainable_parameters()), 0.1).to(DEVICE)
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    batch, targets = support(model), model.targets(LABELS)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        adapt(model, rates, batch, targets, LOSS, 2 * STEPS_PER_CHECK)
    assert len(passes) == STEPS_PER_CHECK


def test_adapting_several_persons_at_once_reads_no_value():
    model = recognizer("tiny-wav2vec2", "lora:2")
    rates = ConstantRate(list(model.trainable_parameters()), 0.1).to(DEVICE)
    persons = [clips(model.encoder.hidden_size)] * 2
    batch = ClipBatch(torch.zeros(2, 2, 1, model.encoder.hidden_size), stacked_buckets(persons)).to(DEVICE)
    starts = {name: torch.stack([weight] * 2) for name, weight in model.trainable_parameters().items()}
    targets = torch.stack([model.targets(LABELS)] * 2)
    adapted = adapt_batched(model, starts, rates, batch, targets, LOSS, steps=3)
    assert all(weights.device == DEVICE for weights in adapted.values())


def test_every_tensor_of_a_batch_is_copied_as_for_a_gpu(monkeypatch):
    copied = []
    monkeypatch.setattr(
        clip_batch, "to_device", lambda tensor, device: copied.append(tensor) or tensor.to(device)
    )
    batch = support(recognizer("tiny-wav2vec2", "all"))
    (bucket,) = batch.buckets
    assert len(copied) == len([batch.lower, bucket.frames, bucket.mask, bucket.positions])
