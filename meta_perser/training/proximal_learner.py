"""What the outer loop trains with `inner.solver: proximal`: the recognizer, and how strongly a person's head
is held to its own."""

from __future__ import annotations

from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import with_macro_f1
from meta_perser.adaptation.proximal.head import AdaptedHead
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.options import AnnealingOptions, MultiStepOptions
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from perser.errors import UserError
from perser.losses import class_balanced_cross_entropy


class ProximalLearner(nn.Module):
    """The recognizer and its strengths. A forward pass solves for one person's head and returns the loss on
    their query.

    The loss on the query is the plain cross-entropy, which is the log loss that reports lead with, plus
    `f1_weight` times 1 minus the smooth macro-F1. The loss on the support is not weighted by class either:
    so the problem is the most likely head under a prior. Its labels are smoothed as SSL-E's were: what a
    person has not said in K answers stays possible.
    """

    def __init__(
        self,
        model: EmotionRecognizer,
        strengths: Strengths,
        label_smoothing: float = 0.0,
        f1_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.rates = strengths
        self._label_smoothing = label_smoothing
        self._query_loss = with_macro_f1(class_balanced_cross_entropy, f1_weight)

    def forward(self, support: tuple[ClipBatch, Tensor], query: tuple[ClipBatch, Tensor]) -> Tensor:
        """Return the loss on the query of the head that was solved for the support.

        Both are clips and their target distributions.
        """
        head = AdaptedHead.fit(self.model, self.rates, *support, label_smoothing=self._label_smoothing)
        clips, targets = query
        return self._query_loss(head.logits(self.model, clips), targets)


def check_proximal(csmt: bool, annealing: AnnealingOptions, multi_step_loss: MultiStepOptions) -> None:
    """Raise UserError for a part of the method that the proximal solver cannot have.

    Annealing by inner steps, the default, is the share of steps that are not there: it changes nothing.
    """
    solver = "inner.solver: proximal"
    if csmt:
        raise UserError(
            f"csmt: with {solver} it would drive every lambda to 0, because nothing fits a support better "
            "than a head that is not held: give csmt: false"
        )
    for key, is_on in (
        ("derivative_annealing.by", annealing.by == "training"),
        ("multi_step_loss.enabled", multi_step_loss.enabled),
    ):
        if is_on:
            raise UserError(f"{key}: {solver} takes no inner steps to which it could apply: turn it off")
