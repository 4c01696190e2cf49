"""Options of `perser icl-train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from perser.training.options import OptimizationOptions, check_at_least

Loss = Literal["every", "query"]
Optimizer = Literal["adamw", "adamw8bit"]


@dataclass(frozen=True)
class IclOptions(OptimizationOptions):
    """How a speech language model is meta-trained.

    Args:
        pairs: enrollment pairs of a training sequence (N of its N + 1 clips).
        uniform_pairs: whether every sequence's number of pairs is drawn uniformly from 0 to `pairs`.
        restricted: share of the sequences whose enrollment has only some of the person's emotions.
        missing: share of the sequences whose enrollment has none of the last clip's emotions.
        permute_labels: share of the sequences in which the emotions swap their words at random.
        loss: every: on the answer to every clip, each predicted from all pairs before it; query: on the
            answer to the last clip alone.
        projector_steps: steps of a first stage, in which the projector alone learns to make clips look like
            the label words' own embeddings, without the language model; 0: no such stage.
        projector_learning_rate: learning rate of that stage.
        gradient_accumulation_steps: parts into which a step's sequences are split, by length, to save memory.
        language_learning_rate: learning rate of the language model's own weights (its adapter, or all of
            tiny-llama); none: the same as the projector's.
        optimizer: adamw, or adamw8bit, which keeps its two moments in 8 bits, through bitsandbytes.
        weight_decay: weight decay of AdamW.
        gradient_checkpointing: whether the language model's layers are computed again in the backward pass:
            less memory, a third more time.
        validation_sequences: sequences of validation persons, the same ones each time.
        mixed_precision: precision of the matrix products.
        seed: seed of the weights, the sequences and the noise.
    """

    pairs: int = 32
    uniform_pairs: bool = False
    restricted: float = 0.0
    missing: float = 0.0
    permute_labels: float = 0.0
    loss: Loss = "every"
    projector_steps: int = 0
    projector_learning_rate: float = 1e-3
    gradient_accumulation_steps: int = 1
    language_learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    gradient_checkpointing: bool = False
    validation_sequences: int = 64
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gradient_accumulation_steps", "validation_sequences"):
            check_at_least(name, getattr(self, name), 1)
        for name in ("pairs", "projector_steps", "restricted", "missing", "permute_labels"):
            check_at_least(name, getattr(self, name), 0)
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size: {self.batch_size}, give a multiple of gradient_accumulation_steps "
                f"({self.gradient_accumulation_steps})"
            )
        if self.permute_labels > 1:
            raise ValueError(f"permute_labels: {self.permute_labels}, give a share of at most 1")
        if self.restricted + self.missing > 1:
            raise ValueError(
                f"restricted and missing: {self.restricted} and {self.missing}, their sum may be at most 1"
            )
        for name, choices in (("loss", get_args(Loss)), ("optimizer", get_args(Optimizer))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)}, give one of {', '.join(choices)}")
