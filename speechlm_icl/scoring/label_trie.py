"""The trie of all labels' tokens: labels with a common beginning share its nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Label = tuple[int, ...]


class LabelTrie:
    """The inner nodes of the labels' trie: all that a language model has to read to score every label.

    A node is a proper prefix of a label, as a tuple of token ids. A label's last token is never read: it is
    scored by the logits at the node before it.

    Args:
        labels: The tokens of each label. None is a prefix of another (`PromptFormat` checks that).
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        prefixes = {label[:length] for label in labels for length in range(len(label))}
        self.nodes: list[Label] = sorted(prefixes, key=lambda node: (len(node), node))
        """The root (the empty prefix) first; every other node after its ancestors."""
        index = {node: number for number, node in enumerate(self.nodes)}
        edges = [
            (emotion, index[label[:length]], label[length])
            for emotion, label in enumerate(labels)
            for length in range(len(label))
        ]
        self._num_labels = len(labels)
        self._edges = torch.tensor(edges, dtype=torch.int64)

    @property
    def tokens(self) -> Tensor:
        """The last token of every node but the root: int64 (num_nodes - 1,)."""
        return torch.tensor([node[-1] for node in self.nodes[1:]], dtype=torch.int64)

    @property
    def depths(self) -> Tensor:
        """The number of tokens of each node: int64 (num_nodes,)."""
        return torch.tensor([len(node) for node in self.nodes])

    @property
    def ancestors(self) -> Tensor:
        """Whether node b is node a or an ancestor of it, at [a, b]: bool (num_nodes, num_nodes)."""
        return torch.tensor([[a[: len(b)] == b for b in self.nodes] for a in self.nodes])

    def paths(self) -> list[Label]:
        """Return the nodes without children. Their tokens, read in full, pass through every node."""
        childless = self.ancestors.sum(dim=0) == 1
        return [node for node, is_childless in zip(self.nodes, childless, strict=True) if is_childless]

    def scores(self, logits: Tensor) -> Tensor:
        """Return the log-probability of each label, summed over its tokens: float32 (Q, num_labels).

        Args:
            logits: Logits of the token after each node, over the vocabulary (Q, num_nodes, V).
        """
        emotion, node, token = self._edges.to(logits.device).unbind(dim=1)
        # One pass over the vocabulary, which does not store the log-probabilities of all other tokens.
        edges = logits[:, node, token].float() - logits.float().logsumexp(dim=-1)[:, node]
        return edges.new_zeros(len(logits), self._num_labels).index_add_(1, emotion, edges)
