"""The recognizer's head: weighted layer sum and two linear layers, on standardized means of hidden states.

Where no layer of the encoder moves, a step needs nothing else: the states are computed once, and the head
runs alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_of_head(name: str) -> bool:
    """Return whether a recognizer's parameter of this name is one of its head."""
    return name.partition(".")[0] in ("layer_logits", "projector", "classifier", "log_scale")


class HeadLayers(nn.Module):
    """The weights of a head, and what they compute."""

    layer_logits: nn.Parameter
    """The softmax of them, (num_states,), weighs the states of the encoder's layers."""
    projector: nn.Linear
    classifier: nn.Linear
    log_scale: nn.Parameter | None
    """The logarithm of a scale of the logits, (1,); None: no scale."""

    def layer_sum(self, states: Tensor) -> Tensor:
        """Return the weighted sum over layers of standardized states (B, num_states, D), (B, D)."""
        return torch.einsum("l,bld->bd", self.layer_logits.softmax(dim=0), states)

    def classify(self, states: Tensor) -> Tensor:
        """Return the logits (B, num_emotions) of standardized states (B, num_states, D)."""
        logits = self.classifier(self.projector(self.layer_sum(states)))
        return logits if self.log_scale is None else self.log_scale.exp() * logits


class HeadAlone(HeadLayers):
    """The head of a recognizer, which shares its weights under the same names, without the encoder."""

    def __init__(self, recognizer: HeadLayers) -> None:
        super().__init__()
        self.layer_logits = recognizer.layer_logits
        self.projector = recognizer.projector
        self.classifier = recognizer.classifier
        self.log_scale = recognizer.log_scale

    def forward(self, states: Tensor) -> Tensor:
        """Return logits (B, num_emotions)."""
        return self.classify(states)
