"""Presets of the comparison: shapes of the encoder, sizes of the support, number of rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.timing.rounds import Precision


@dataclass(frozen=True)
class MamlPreset:
    """Sizes of one run.

    Args:
        encoder: the configuration's differences from wav2vec2-base.
        step_clips: K of the second-order step.
        steps: its S.
        memory_clips: K where peak memory is measured.
        memory_steps: its S.
        adapt_clips: K of meta-testing.
        adapt_steps: gradient steps of meta-testing.
        timed_steps: how many of those are run if the trunk adapts; the seconds of all are in proportion.
        repeats: rounds; in each every contender is timed once.
        by_hand: the encoder, as above, of the comparison with loops written by hand.
        by_hand_rounds: its rounds.
        precisions: the precisions to measure in, one after the other.
    """

    encoder: dict[str, Any] = field(default_factory=dict)
    step_clips: int = 32
    steps: int = 5
    memory_clips: int = 32
    memory_steps: int = 20
    adapt_clips: int = 32
    adapt_steps: int = 50
    timed_steps: int = 50
    repeats: int = 5
    by_hand: dict[str, Any] = field(default_factory=lambda: TINY)
    by_hand_rounds: int = 9
    precisions: tuple[Precision, ...] = ("float32",)


BASE: dict[str, Any] = {}
"""transformers' default is wav2vec2-base itself."""

# These front-ends are as wide as it takes to have wav2vec2-base's share of a forward pass's operations.
NARROW = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "conv_dim": [80] * 7,
}

NARROWER = NARROW | {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 512,
    "conv_dim": [48] * 7,
}

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

PRESETS = {
    "tiny": MamlPreset(
        TINY,
        step_clips=3,
        steps=2,
        memory_clips=2,
        memory_steps=4,
        adapt_clips=3,
        adapt_steps=4,
        timed_steps=2,
        repeats=1,
        by_hand_rounds=1,
    ),
    "quick": MamlPreset(NARROWER, step_clips=4, memory_clips=2, timed_steps=1, repeats=3),
    "full": MamlPreset(NARROW, step_clips=8, memory_clips=4, timed_steps=5),
    "base": MamlPreset(BASE, precisions=("float32", "tf32", "bf16")),
}
