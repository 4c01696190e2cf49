"""What meta-training needs of a model: a speech language model has it, and so has a ready audio LLM.

Two functions differ between them and are chosen by the model's class: `speechlm_icl.training.reading.read`
and `speechlm_icl.scoring.scoring.label_log_probabilities`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from perser.labels import EmotionSet
from speechlm_icl.model.binding import PairBinding
from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.prompt import PromptBatch, PromptOptions


class LearnerPrompt(Protocol):
    """How a model is asked."""

    @property
    def emotions(self) -> EmotionSet: ...
    @property
    def options(self) -> PromptOptions: ...


class Learner(Protocol):
    """A model that learns to read pairs."""

    language_model: LanguageModel
    binding: PairBinding | None

    @property
    def prompt(self) -> LearnerPrompt: ...
    @property
    def device(self) -> torch.device: ...

    @property
    def label_word_pool(self) -> list[str]:
        """The words that can be drawn as labels."""
        ...

    def with_labels(self, labels: EmotionSet) -> Self: ...

    def losses(self, batch: PromptBatch, features: Any) -> Tensor:
        """Return the negative log-likelihood in nats of every target token (B, T)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def eval(self) -> Self: ...
