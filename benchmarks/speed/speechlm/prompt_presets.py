"""Presets of the speech LM's comparisons: shapes of the language model, sizes of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.speed.timing.rounds import Precision

SMOLLM2_135M: dict[str, Any] = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}

TINY: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@dataclass(frozen=True)
class PromptPreset:
    """Sizes of one run.

    Args:
        language_model: shapes of a Llama with tied embeddings.
        pairs: K, enrollment pairs in the prompt; N of a training sequence.
        queries: Q.
        timed_queries: how many of those the contenders with the full prompt answer; each query is the same
            work, so the seconds of all are in proportion.
        tokens_per_clip: embeddings that a clip takes in the prompt.
        sequences: training sequences of a step.
        repeats: rounds; in each every contender is timed once.
        precisions: the precisions to measure in, one after the other.
    """

    language_model: dict[str, Any]
    pairs: int = 32
    queries: int = 128
    timed_queries: int = 8
    tokens_per_clip: int = 4
    sequences: int = 8
    repeats: int = 5
    precisions: tuple[Precision, ...] = ("float32",)


PROMPT_PRESETS = {
    "tiny": PromptPreset(
        TINY, pairs=3, queries=6, timed_queries=2, tokens_per_clip=2, sequences=2, repeats=1
    ),
    "quick": PromptPreset(SMOLLM2_135M, timed_queries=1, sequences=1, repeats=3),
    "full": PromptPreset(SMOLLM2_135M),
    "gpu": PromptPreset(
        SMOLLM2_135M, timed_queries=128, sequences=32, precisions=("float32", "tf32", "bf16")
    ),
}
