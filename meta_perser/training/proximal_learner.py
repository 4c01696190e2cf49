"""What the outer loop trains with `inner.solver: proximal`: the recognizer, and how strongly a person's head
is held to its own."""

from __future__ import annotations

from torch import Tensor, nn

from meta_perser.adaptation.proximal.head import AdaptedHead
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from perser.losses import class_balanced_cross_entropy


class ProximalLearner(nn.Module):
    """The recognizer and its strengths. A forward pass solves for one person's head and returns the loss on
    their query.

    Both losses are the plain cross-entropy, without class weights and smoothing: with it, the problem is the
    most likely head under a prior, and the outer loss is the log loss that reports lead with.
    """

    def __init__(self, model: EmotionRecognizer, strengths: Strengths) -> None:
        super().__init__()
        self.model = model
        self.rates = strengths

    def forward(self, support: tuple[ClipBatch, Tensor], query: tuple[ClipBatch, Tensor]) -> Tensor:
        """Return the loss on the query of the head that was solved for the support.

        Both are clips and their target distributions.
        """
        head = AdaptedHead.fit(self.model, self.rates, *support)
        clips, targets = query
        return class_balanced_cross_entropy(head.logits(self.model, clips), targets)
