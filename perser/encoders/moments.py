"""The mean and the standard deviation of clips' features: of some clips, alone or with a model's own, or of
each of several groups of clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from perser.encoders.feature_cache import FeatureStore
from perser.errors import UserError


def moments(clips: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation over clips, or over all their windows: float64 (L + 1, D).

    Args:
        clips: Features of each clip, (L + 1, D) or (num_windows, L + 1, D); at least one.
    """
    number, total, squares = 0, torch.zeros(()), torch.zeros(())
    for clip in clips:
        states = clip.double().reshape(-1, *clip.shape[-2:])
        number += len(states)
        total = total + states.sum(dim=0)
        squares = squares + states.square().sum(dim=0)
    mean = total / number
    return mean, (squares / number - mean.square()).clamp_min(0).sqrt().clamp_min(1e-5)


def check_moments(mean: Tensor, std: Tensor, own: Tensor) -> None:
    """Raise UserError where a mean and a standard deviation are not of the features of a model, whose own
    mean has their shape."""
    if mean.shape != own.shape or std.shape != own.shape:
        raise UserError("its standardization is not of this model's features")


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


class StandardizedByGroup(FeatureStore):
    """Features that have the same mean and standard deviation in each group of clips.

    These are the means over the groups, so that a model that was trained on such features can read those of
    clips of no group as they are.

    Args:
        store: The features, of clips whose features have one shape.
        groups: The clips of each group from which its moments are computed.
        members: The group of each clip. Clips of a group that is not in `groups` stay as they are.
    """

    def __init__(
        self, store: FeatureStore, groups: Mapping[str, Sequence[str]], members: Mapping[str, str]
    ) -> None:
        self.level = store.level
        self._store = store
        self._members = members
        found = {name: moments(store[clip] for clip in clips) for name, clips in groups.items()}
        own = {name: (mean.float(), spread.float()) for name, (mean, spread) in found.items()}
        mean = torch.stack([mean for mean, _ in own.values()]).mean(dim=0)
        spread = torch.stack([spread for _, spread in own.values()]).mean(dim=0)
        self._maps = {
            name: (spread / own_spread, mean - own_mean * spread / own_spread)
            for name, (own_mean, own_spread) in own.items()
        }

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._store

    def __getitem__(self, utterance_id: str) -> Tensor:
        group = self._members[utterance_id]
        if group not in self._maps:
            return self._store[utterance_id]
        scale, shift = self._maps[group]
        return self._store[utterance_id] * scale + shift

    def num_rows(self, utterance_id: str) -> int:
        return self._store.num_rows(utterance_id)
