"""The tree that the tokens of all labels make: labels that begin alike share the beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Label = tuple[int, ...]


class LabelTrie:
    """What a language model has to read to score every label: each stem (a beginning of a label, without
    its last token) once.

    Args:
        labels: The tokens of each label; none begins another (`PromptFormat` sees to it).
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        beginnings = {label[:length] for label in labels for length in range(len(label))}
        self.stems: list[Label] = sorted(beginnings, key=lambda stem: (len(stem), stem))
        """The empty one first, every other after its own beginnings."""
        place = {stem: number for number, stem in enumerate(self.stems)}
        edges = [
            (emotion, place[label[:length]], label[length])
            for emotion, label in enumerate(labels)
            for length in range(len(label))
        ]
        self._num_labels = len(labels)
        self._edges = torch.tensor(edges, dtype=torch.int64)

    @property
    def tokens(self) -> Tensor:
        """The last token of every stem but the empty one: int64 (num_stems - 1,)."""
        return torch.tensor([stem[-1] for stem in self.stems[1:]], dtype=torch.int64)

    @property
    def depths(self) -> Tensor:
        """How many tokens each stem has: int64 (num_stems,)."""
        return torch.tensor([len(stem) for stem in self.stems])

    @property
    def within(self) -> Tensor:
        """Whether stem b is a beginning of stem a, or a itself: bool (num_stems, num_stems) at [a, b]."""
        return torch.tensor([[a[: len(b)] == b for b in self.stems] for a in self.stems])

    def longest(self) -> list[Label]:
        """The stems that are no beginning of another: read in full, these hold every stem."""
        last = self.within.sum(dim=0) == 1
        return [stem for stem, alone in zip(self.stems, last, strict=True) if alone]

    def scores(self, logits: Tensor) -> Tensor:
        """Log-probability of each label, its tokens' summed: float32 (Q, num_labels).

        Args:
            logits: Of the token after each stem, over the vocabulary (Q, num_stems, V).
        """
        emotion, stem, token = self._edges.to(logits.device).unbind(dim=1)
        # One pass over the vocabulary: the other log-probabilities are never written down.
        edges = logits[:, stem, token].float() - logits.float().logsumexp(dim=-1)[:, stem]
        return edges.new_zeros(len(logits), self._num_labels).index_add_(1, emotion, edges)
