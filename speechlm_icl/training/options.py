"""How a speech language model is meta-trained: the options of `perser icl-train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Loss = Literal["every", "query"]

Optimizer = Literal["adamw", "adamw8bit"]


@dataclass(frozen=True)
class IclTraining:
    """How a speech language model is meta-trained.

    Args:
        pairs: Enrollment pairs of a training sequence (N of the N + 1 clips).
        uniform_pairs: Draw every sequence's number of pairs uniformly from 0 to `pairs`.
        restricted: Share of the sequences whose enrollment has only some of the person's emotions.
        missing: Share of the sequences whose enrollment has none of the last clip's emotions.
        permute_labels: Share of the sequences in which the emotions swap their words at random.
        loss: On the answer to every clip, each predicted from all pairs before it, or to the last clip, the
            query, alone.
        align_steps: Steps of a first stage, in which the projector alone learns to make clips look like the
            label words' own embeddings, without the language model; 0 for none.
        align_learning_rate: Rate of that stage's AdamW.
        steps: Optimizer steps.
        sequences_per_step: Sequences a step, over all processes.
        accumulate: Parts into which a step's sequences are split, by length, to save memory.
        learning_rate: Peak rate of AdamW, after the warm-up; it then falls to zero along a cosine.
        language_learning_rate: The same of the language model's own weights (its adapter, or all of
            tiny-llama); null for the same rate.
        optimizer: adamw8bit keeps its two moments in 8 bits, through bitsandbytes.
        warmup: Share of the steps in which the rate rises.
        weight_decay: AdamW's weight decay.
        clip_norm: Largest norm of the gradient.
        gradient_checkpointing: Recompute the language model's layers in the backward pass: less memory, a
            third more time.
        validate_every: Steps between two validations.
        validation_sequences: Sequences of validation persons, the same ones each time.
        mixed_precision: Numbers of the matrix products.
        seed: Seed of the weights, the sequences and the noise.
    """

    pairs: int = 32
    uniform_pairs: bool = False
    restricted: float = 0.0
    missing: float = 0.0
    permute_labels: float = 0.0
    loss: Loss = "every"
    align_steps: int = 0
    align_learning_rate: float = 1e-3
    steps: int = 600
    sequences_per_step: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    language_learning_rate: float | None = None
    optimizer: Optimizer = "adamw"
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    gradient_checkpointing: bool = False
    validate_every: int = 50
    validation_sequences: int = 64
    mixed_precision: Literal["no", "bf16"] = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("steps", "sequences_per_step", "accumulate", "validate_every", "validation_sequences")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("pairs", "align_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0")
        if self.sequences_per_step % self.accumulate:
            raise ValueError("sequences_per_step must be a multiple of accumulate")
        if not 0 <= self.warmup < 1 or not 0 <= self.permute_labels <= 1:
            raise ValueError("warmup must be in [0, 1) and permute_labels in [0, 1]")
        if min(self.restricted, self.missing) < 0 or self.restricted + self.missing > 1:
            raise ValueError("restricted and missing must be at least 0 and together at most 1")
        for name, known in (("loss", get_args(Loss)), ("optimizer", get_args(Optimizer))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}")
