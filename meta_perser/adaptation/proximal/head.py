"""The proximal problem of a recognizer's head: what it reads of a support, and the solved weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from meta_perser.adaptation.adaptation_loss import Weights
from meta_perser.adaptation.proximal.solver import HeadProblem
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.recognizer.batches import STANDARDIZATION_UTTERANCES, ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.sampling import evenly_spaced


def features_and_logits(model: EmotionRecognizer, batch: ClipBatch) -> tuple[Tensor, Tensor]:
    """Return what the classifier reads (B, D) and what the recognizer answers (B, C), in float64."""
    features = model.projector(model.embed(batch))
    return features.double(), model.answer(features).double()


@dataclass(frozen=True)
class AdaptedHead:
    """The heads of P persons, solved for their supports.

    Args:
        problem: their problem.
        residuals: its solution (`HeadProblem.solve`).
    """

    problem: HeadProblem
    residuals: Tensor

    @classmethod
    def fit(
        cls,
        model: EmotionRecognizer,
        strengths: Strengths,
        batch: ClipBatch,
        targets: Tensor,
        persons: int = 1,
        label_smoothing: float = 0.0,
    ) -> AdaptedHead:
        """Return the best heads of persons whose equally large supports follow each other in the batch.

        Args:
            model: the recognizer.
            strengths: the lambdas.
            batch: the supports.
            targets: their target distributions, (P * K, C).
            persons: P.
            label_smoothing: the share of every target that is spread over all emotions.
        """
        parts = [*features_and_logits(model, batch), targets.double()]
        features, logits, targets = (part.unflatten(0, (persons, -1)) for part in parts)
        targets = targets / targets.sum(dim=-1, keepdim=True)
        targets = (1 - label_smoothing) * targets + label_smoothing / targets.shape[-1]
        problem = HeadProblem(features, logits, targets, strengths())
        return cls(problem, problem.solve())

    def logits(self, model: EmotionRecognizer, batch: ClipBatch) -> Tensor:
        """Return the adapted answers (Q, C) about clips, for a single person."""
        features, logits = features_and_logits(model, batch)
        shift = self.problem.shift(self.residuals, features.unsqueeze(0), logits.unsqueeze(0))
        return logits + shift.squeeze(0)

    def weights(self, model: EmotionRecognizer) -> list[Weights]:
        """Return all weights of the scope for each person, detached; only those of the classifier differ."""
        own = {name: parameter.detach() for name, parameter in model.trainable_parameters().items()}
        weight, bias, factor = (tensor.detach() for tensor in self.problem.moved(self.residuals))
        if model.log_scale is not None:  # the recognizer applies it to what the classifier answers
            scale = model.log_scale.detach().double().exp()
            weight, bias = weight / scale, bias / scale
        moved = {"classifier.weight": weight, "classifier.bias": bias}
        return [
            own
            | {
                name: ((1 + factor[person]) * own[name].double() + change[person]).to(own[name])
                for name, change in moved.items()
            }
            for person in range(len(factor))
        ]


@torch.no_grad()
def initial_strengths(
    model: EmotionRecognizer, source: ClipSource, utterances: Sequence[str], prior_strength: float
) -> Strengths:
    """Return the lambdas of Prior-Shift (`Strengths.like_prior_shift`) for these training utterances."""
    batch = source.batch(evenly_spaced(utterances, STANDARDIZATION_UTTERANCES))
    return Strengths.like_prior_shift(prior_strength, *features_and_logits(model, batch))
