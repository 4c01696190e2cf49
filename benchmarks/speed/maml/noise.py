"""Make clips as long as IEMOCAP's, filled with noise: speed does not depend on what is spoken."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

SAMPLE_RATE = 16_000

MEAN_SECONDS = 4.5

SHORTEST, LONGEST = 1.0, 15.0

SPREAD = 0.6
"""Standard deviation of the logarithm of a length."""

SYLLABLES = 4.0
"""Rises and falls of loudness a second."""


def clip_lengths(count: int) -> list[float]:
    """Return the seconds of `count` clips: the middle quantiles of a log-normal distribution.

    So any number of clips has its typical share of long ones, which decides how much padding a batch holds.
    """
    normal = NormalDist(math.log(MEAN_SECONDS) - SPREAD**2 / 2, SPREAD)
    quantiles = [math.exp(normal.inv_cdf((index + 0.5) / count)) for index in range(count)]
    return [min(max(seconds, SHORTEST), LONGEST) for seconds in quantiles]


def noise_clips(count: int, seed: int = 0) -> list[Tensor]:
    """Return waveforms (num_samples,) at 16 kHz in random order: noise that swells as syllables do."""
    rng = np.random.default_rng(seed)
    return [_noise(seconds, rng) for seconds in rng.permutation(clip_lengths(count))]


def _noise(seconds: float, rng: np.random.Generator) -> Tensor:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    loudness = 0.1 * (1.1 + np.sin(2 * np.pi * (SYLLABLES * time + rng.random())))
    return torch.from_numpy((loudness * rng.standard_normal(len(time))).astype(np.float32))


def random_targets(count: int, emotions: int, seed: int = 0) -> Tensor:
    """Return a listener's answers (count, emotions): in each row one emotion, or two of equal weight."""
    rng = np.random.default_rng(seed)
    rows = torch.zeros(count, emotions)
    for row in rows:
        chosen = rng.choice(emotions, size=rng.integers(1, 3), replace=False)
        row[chosen] = 1 / len(chosen)
    return rows
