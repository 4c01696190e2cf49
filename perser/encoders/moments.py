"""The mean and the standard deviation of clips' features, alone or together with a model's own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def blended_moments(
    clips: Iterable[Tensor], mean: Tensor, std: Tensor, prior_clips: float
) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of clips' features, blended with a model's own.

    The model's count as much as `prior_clips` clips. Of the standard deviations, the squares are blended.

    Args:
        clips: Features of each clip, (L + 1, D) or (num_windows, L + 1, D); each window counts the same.
        mean, std: The model's own, (L + 1, D).
        prior_clips: 0 for the clips alone.

    Computed in double precision; the results have the dtype and device of `mean`.
    """
    number, windows = 0, 0
    total = torch.zeros(mean.shape, dtype=torch.float64)
    squares = torch.zeros(mean.shape, dtype=torch.float64)
    for clip in clips:
        states = clip.detach().double().cpu().reshape(-1, *mean.shape)
        number, windows = number + 1, windows + len(states)
        total += states.sum(dim=0)
        squares += states.square().sum(dim=0)
    own_mean, own_std = mean.double().cpu(), std.double().cpu()
    if not windows:
        return mean.clone(), std.clone()
    found = total / windows
    variance = (squares / windows - found.square()).clamp_min(0)
    share = number / (number + prior_clips)
    blended = share * found + (1 - share) * own_mean
    spread = (share * variance + (1 - share) * own_std.square()).sqrt()
    # What the clips do not vary in at all says nothing: the model's own stays.
    spread = torch.where(spread > 1e-5, spread, own_std)
    return blended.to(mean), spread.to(std)
