"""One person's inner loop and outer loss as one module's forward."""

from __future__ import annotations

from torch import Tensor, nn

from meta_perser.inner_loop import LossFunction, inner_loop, loss_on
from meta_perser.inner_plan import InnerPlan
from meta_perser.lslr import Rates
from meta_perser.model import ClipBatch, EmotionRecognizer
from meta_perser.options import Memory

Examples = tuple[ClipBatch, Tensor]
"""Clips, and their target distributions (B, num_emotions)."""


class MetaLearner(nn.Module):
    """The recogniser and its rates; a forward runs one person's whole inner loop and gives the outer loss,
    so that what wraps it for several processes sees every gradient."""

    def __init__(
        self, model: EmotionRecognizer, rates: Rates, loss: LossFunction, memory: Memory = "unroll"
    ) -> None:
        super().__init__()
        self.model = model
        self.rates = rates
        self._loss = loss
        self._memory: Memory = memory

    def forward(
        self, plan: InnerPlan, final_weight: float, support: Examples, query: Examples | None = None
    ) -> Tensor:
        """The sum over steps of plan.path_weights[s] * W(theta_s), plus final_weight * W(theta_S).

        W is the loss on the set that the inner loop learns from (CSMT, 2.3.2), whose values on the way cost
        nothing more, or on `query` where there is one (classic MAML).
        """
        learned_from = loss_on(self.model, self._loss, *support)
        once = loss_on(self.model, self._loss, *support, attention="sdpa")
        watched = None if query is None else loss_on(self.model, self._loss, *query, attention="sdpa")
        adapted, path = inner_loop(
            learned_from,
            dict(self.model.moving_parameters()),
            self.rates.table(len(plan.path_weights)),
            plan,
            watched,
            self._memory,
            once,
        )
        return path + final_weight * (watched or once)(adapted)
