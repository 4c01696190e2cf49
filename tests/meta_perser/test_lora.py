"""Adapters as fast weights: the scope `lora` is meta-learned, saved and loaded like any other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from meta_perser.adaptation.adaptation_loss import loss_on
from meta_perser.adaptation.inner_loop import inner_loop
from meta_perser.adaptation.lslr import LearnedRates
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.outer_loop import MetaLearner
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.families import FAMILIES
from perser.losses import class_balanced_cross_entropy


def recognizer(encoder, corpus, scope="lora:2"):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name(encoder), corpus.emotions, scope, head_size=8)
    for name, parameter in model.trainable_parameters().items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("encoder", ["tiny-wav2vec2", "tiny-whisper", "tiny-wavlm"])
def test_second_order_gradients_agree_with_finite_differences(encoder, toy_corpus, tmp_path):
    model = recognizer(encoder, toy_corpus)
    chosen = toy_corpus.recordings.utterance_ids[:3]
    model.double()
    source = ClipSource(toy_corpus.recordings, recognizer(encoder, toy_corpus), tmp_path)
    batch = as_double(source.batch(chosen))
    targets = torch.eye(4, dtype=torch.float64)[:3]
    weights = {
        name: parameter.detach().requires_grad_() for name, parameter in model.trainable_parameters().items()
    }
    rates = torch.full((2, len(weights)), 0.5, dtype=torch.float64)

    def outer(start):
        loss = loss_on(model, class_balanced_cross_entropy, batch, targets)
        adapted, _ = inner_loop(loss, start, rates, StepSchedule.plain(2))
        return loss(adapted)

    gradients = torch.autograd.grad(outer(weights), list(weights.values()))
    adapters = [name for name in weights if ".lora_" in name]
    assert len(adapters) == 3 * 4 * 2
    generator = torch.Generator().manual_seed(1)
    for names in (adapters, list(weights)):
        direction = {
            name: torch.randn(weights[name].shape, dtype=torch.float64, generator=generator) for name in names
        }
        slope = sum(
            (gradient * direction[name]).sum()
            for name, gradient in zip(weights, gradients, strict=True)
            if name in direction
        )

        def shifted(size, direction=direction):
            moved = {
                name: tensor + size * direction[name] if name in direction else tensor
                for name, tensor in weights.items()
            }
            return outer(moved).detach()

        size = 1e-5
        measured = (shifted(size) - shifted(-size)) / (2 * size)
        torch.testing.assert_close(slope, measured, rtol=1e-6, atol=1e-9)


def as_double(batch):
    """Return the batch in float64."""
    buckets = tuple(dataclasses.replace(bucket, frames=bucket.frames.double()) for bucket in batch.buckets)
    return ClipBatch(batch.lower.double(), buckets)


@pytest.mark.parametrize("encoder", ["tiny-hubert", "tiny-whisper"])
def test_adapters_are_saved_separately_from_the_encoder(encoder, toy_corpus, tmp_path):
    model = recognizer(encoder, toy_corpus)
    model.save_pretrained(tmp_path / "model")
    loaded = EmotionRecognizer.from_pretrained(tmp_path / "model")
    assert list(loaded.trainable_parameters()) == list(model.trainable_parameters())
    chosen = toy_corpus.recordings.utterance_ids[:3]
    logits = [
        each(ClipSource(toy_corpus.recordings, each, tmp_path).batch(chosen)) for each in (model, loaded)
    ]
    assert torch.equal(*logits)
    base = SpeechEncoder.from_name(str(tmp_path / "model" / "encoder"))
    assert not base.adapter_parameters()
    assert base.fingerprint("all") == SpeechEncoder.from_name(encoder).fingerprint("all")


def test_only_adapters_and_head_move(toy_corpus):
    model = recognizer("tiny-wav2vec2", toy_corpus)
    head = {
        "layer_logits",
        *(f"{layer}.{kind}" for layer in ("projector", "classifier") for kind in ("weight", "bias")),
    }
    moving = set(model.trainable_parameters())
    assert head < moving
    assert all(".lora_" in name for name in moving - head)
    assert model.fingerprint() != recognizer("tiny-wav2vec2", toy_corpus, "lora:3").fingerprint()


LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
"""What WavLM-large and HuBERT-XL have and the base models have not; sizes are tiny here."""


@pytest.mark.parametrize("kind", ["wavlm", "hubert"])
def test_adapters_of_large_encoders_are_fast_weights(kind, toy_corpus, tmp_path):
    family = FAMILIES[kind]
    torch.manual_seed(0)
    config = family.config_class(**family.tiny_config, **LARGE)
    family.model_class(config).save_pretrained(tmp_path / kind)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / kind)
    model = recognizer(str(tmp_path / kind), toy_corpus)
    source = ClipSource(toy_corpus.recordings, model, tmp_path / "cache")
    batch = source.batch(toy_corpus.recordings.utterance_ids[:3])
    names = list(model.trainable_parameters())
    rates = LearnedRates(names, 2, 0.1)
    learner = MetaLearner(model, rates, class_balanced_cross_entropy, "adjoint_host", clips_at_once=2)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        outer = learner(StepSchedule.plain(2), 1.0, (batch, torch.eye(4)[:3]))
        outer.backward()
        optimizer.step()
        losses.append(outer.item())
    assert losses[-1] < 0.9 * losses[0]
    adapters = [name for name in names if ".lora_" in name]
    assert len(adapters) == 3 * 4 * 2
    assert all(model.get_parameter(name).grad.any() for name in adapters)
