"""What the training loops of both routes share: set-up, schedule, progress, keeping the best."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from perser.training.sharding import whole


class BestWeights:
    """The weights with the highest validation score so far."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self.step = 0
        self.weights: dict[str, Tensor] = {}
        """Copies, by name; none before the first offer."""

    def offer(self, score: float, step: int, module: nn.Module) -> bool:
        """Keep a copy of the module's trained weights if the score is the highest; says whether it is. One
        that is no number never is."""
        if not score > self.score:
            return False
        self.score, self.step = score, step
        self.weights = {
            name: whole(one.detach()).clone() for name, one in module.named_parameters() if one.requires_grad
        }
        return True

    def take(self, weights: dict[str, Tensor], score: float, step: int) -> None:
        """What another one kept is this one's."""
        self.weights, self.score, self.step = weights, score, step

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Put the kept weights back."""
        own = dict(module.named_parameters())
        for name, kept in self.weights.items():
            own[name].copy_(kept)


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """One epoch of index batches in random order; the last may be smaller."""
    for chunk in torch.randperm(count, generator=generator).split(size):
        yield chunk.tolist()
