"""A recognizer is computed with other weights, and nothing of the module itself changes."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from meta_perser.recognizer.clip_batch import ClipBatch, bucketed
from meta_perser.recognizer.functional import FunctionalModel
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.loading import TINY_NAMES
from perser.labels import EmotionSet
from perser.training.checkpoint import moving_parameters

SCOPES = ("head", "top_layers:1", "lora:2", "all")


def make(name: str, scope: str) -> tuple[EmotionRecognizer, ClipBatch]:
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name(name), EmotionSet(("angry", "sad")), scope).eval()
    encoder = model.encoder
    width = encoder.front_size if model.lowest_layer is None else encoder.hidden_size
    lower = 0 if model.lowest_layer is None else model.lowest_layer + 1
    lengths = (62, 62) if name == "tiny-ast" else (9, 14)  # all spectrograms of an AST have one length
    clips = [torch.randn(length, width) for length in lengths] if scope != "head" else []
    return model, ClipBatch(torch.randn(2, lower, encoder.hidden_size), bucketed(clips))


def state_of(model: EmotionRecognizer) -> dict[str, object]:
    """Return everything that a call could leave behind."""
    encoder = model.encoder
    return {
        **{name: value.clone() for name, value in model.state_dict().items()},
        "identities": [id(parameter) for parameter in model.parameters()],
        "trainable": [parameter.requires_grad for parameter in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "attention": (encoder.attention, encoder.model.config._attn_implementation),
        "configs": [id(getattr(module, "config", None)) for module in model.modules()],
    }


@pytest.mark.parametrize("name", TINY_NAMES)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_output_is_that_of_functional_call_and_the_module_does_not_change(name, scope):
    model, batch = make(name, scope)
    theta = {key: value + 0.1 * torch.randn_like(value) for key, value in moving_parameters(model).items()}
    expected, own = functional_call(model, theta, (batch,)), model(batch)
    before = state_of(model)
    functional = FunctionalModel(model, theta, "sdpa")
    torch.testing.assert_close(functional(theta, batch), expected)
    assert not torch.equal(expected, own)
    torch.testing.assert_close(functional({}, batch), own)
    after = state_of(model)
    for key, value in before.items():
        assert torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key], key
    assert torch.equal(model(batch), own)


@pytest.mark.parametrize("scope", SCOPES)
def test_gradients_reach_the_given_weights_alone(scope):
    model, batch = make("tiny-wav2vec2", scope)
    theta = {key: value.detach().clone().requires_grad_() for key, value in moving_parameters(model).items()}
    FunctionalModel(model, theta)(theta, batch).square().sum().backward()
    assert all(value.grad is not None for value in theta.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_no_weight_is_below_is_shared():
    model, _ = make("tiny-wav2vec2", "head")
    copy = FunctionalModel(model, moving_parameters(model)).module
    assert copy is not model
    assert copy.projector is not model.projector
    assert copy.encoder is model.encoder


def test_a_name_of_no_parameter_is_an_error():
    model, _ = make("tiny-wav2vec2", "head")
    with pytest.raises(KeyError, match="weights"):
        FunctionalModel(model, ["projector.weights"])


def test_linear_weights_are_cast_together_as_autocast_casts_them():
    model, batch = make("tiny-wav2vec2", "all")
    theta = dict(moving_parameters(model))
    functional = FunctionalModel(model, theta)
    with torch.autocast("cpu", torch.bfloat16):
        expected = functional(theta, batch)
        actual = functional({**theta, **functional._cast_together(theta, torch.bfloat16)}, batch)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
