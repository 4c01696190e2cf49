from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.multi_head import Consensus, MultiHead
from perser.encoders.encoder import SpeechEncoder


@pytest.fixture
def heads(toy_corpus):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "head", 8)
    torch.nn.init.normal_(model.layer_logits)
    return MultiHead(model, 3)


@pytest.fixture
def batch(heads):
    encoder = heads.model.encoder
    return ClipBatch(torch.randn(5, encoder.num_layers + 1, encoder.hidden_size))


def test_each_head_is_a_recognizer_of_its_own(heads, batch):
    logits = heads(batch)
    assert logits.shape == (5, 3, 4)
    for index in range(3):
        linears = {
            f"{part}.{name}": value[index]
            for part in ("projector", "classifier")
            for name, value in getattr(heads, part).items()
        }
        torch.testing.assert_close(logits[:, index], functional_call(heads.model, linears, (batch,)))


def test_heads_start_different_and_the_own_head_is_not_trained(heads, batch):
    assert not torch.equal(heads.classifier["weight"][0], heads.classifier["weight"][1])
    heads(batch)[torch.arange(5), 1].square().sum().backward()
    moved = {name for name, one in heads.named_parameters() if one.grad is not None and one.grad.any()}
    stacked = {f"{part}.{name}" for part in ("projector", "classifier") for name in ("weight", "bias")}
    assert moved == {"model.layer_logits", *stacked}
    assert not heads.projector["weight"].grad[[0, 2]].any()


def test_all_that_moves_gets_a_gradient(toy_corpus, batch):
    """Where something gets none, torch ends several processes; the recognizer's own scale is not read."""
    encoder = SpeechEncoder.from_name("tiny-whisper")
    model = EmotionRecognizer(encoder, toy_corpus.emotions, "head", 8, logit_scale=True)
    heads = MultiHead(model, 3)
    heads(batch).square().sum().backward()
    assert all(parameter.grad is not None for parameter in heads.parameters() if parameter.requires_grad)


def test_the_consensus_is_the_heads_mean(heads, batch):
    mean = torch.stack([heads(batch)[:, index].softmax(dim=-1) for index in range(3)]).mean(dim=0)
    torch.testing.assert_close(Consensus(heads)(batch).softmax(dim=-1), mean)
