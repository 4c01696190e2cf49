"""The training of Multi-Few: a shared encoder, and two linear layers for every training listener.

Source: Meta-PerSER, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer


class MultiHead(nn.Module):
    """`heads` heads on one recognizer's embedding: encoder and layer weights are shared.

    The recognizer's own two linear layers, and its scale of the logits, are not used and not trained.
    """

    def __init__(self, model: EmotionRecognizer, heads: int) -> None:
        super().__init__()
        self.model = model
        model.projector.requires_grad_(False)
        model.classifier.requires_grad_(False)
        if model.log_scale is not None:
            model.log_scale.requires_grad_(False)
        self.projector = _stacked(model.projector, heads)
        self.classifier = _stacked(model.classifier, heads)

    def forward(self, batch: ClipBatch) -> Tensor:
        """Return every head's logits (B, heads, num_emotions)."""
        embedded = self.model.embed(batch)
        projected = torch.einsum("bd,phd->bph", embedded, self.projector["weight"]) + self.projector["bias"]
        logits = torch.einsum("bph,pch->bpc", projected, self.classifier["weight"])
        return logits + self.classifier["bias"]


class Consensus(nn.Module):
    """The average listener of a `MultiHead`: logits (B, num_emotions) whose softmax is the heads' mean."""

    def __init__(self, heads: MultiHead) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, batch: ClipBatch) -> Tensor:
        return self.heads(batch).softmax(dim=-1).mean(dim=1).log()


def _stacked(linear: nn.Linear, count: int) -> nn.ParameterDict:
    """Return `count` new linear layers of this shape, initialized by torch.

    The weight is (count, out, in), the bias (count, out).
    """
    fresh = [nn.Linear(linear.in_features, linear.out_features) for _ in range(count)]
    return nn.ParameterDict(
        {
            name: torch.stack([layer.get_parameter(name).detach() for layer in fresh])
            for name in ("weight", "bias")
        }
    )
