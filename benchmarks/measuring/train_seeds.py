"""Put together what models that were trained with several seeds scored on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measuring.statistics import EpisodeScores, has_metric, scored
from perser.errors import UserError


def mean_over_seeds(trainings: Sequence[Sequence[EpisodeScores]], method: str) -> list[EpisodeScores]:
    """Return the mean score of each episode over the trainings.

    Raises UserError where they were not measured on the same episodes.
    """
    first, *others = trainings
    if not others:
        return list(first)
    found = [{(score.person, score.episode_id): score for score in scores} for scores in trainings]
    if any(by_key.keys() != found[0].keys() for by_key in found):
        raise UserError(
            f"{method} was measured on other episodes with other training seeds: run the experiment again"
        )
    return [
        EpisodeScores(
            *key,
            _mean([by_key[key].metrics for by_key in found]),
            _mean_by_speaker([by_key[key].by_speaker for by_key in found]),
        )
        for key in found[0]
    ]


def spread_over_seeds(
    by_seed: Mapping[int | None, Sequence[EpisodeScores]], metrics: Sequence[str]
) -> dict[str, Any]:
    """Return the `seeds`, and by metric the `means` of each seed and their sample standard `deviation`."""
    present = [name for name in metrics if all(has_metric(scores, name) for scores in by_seed.values())]
    means = {name: [scored(scores, name).mean for scores in by_seed.values()] for name in present}
    deviation = {name: float(np.std(values, ddof=1)) for name, values in means.items()}
    return {"seeds": list(by_seed), "means": means, "deviation": deviation}


def _mean(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each entry that all of them have."""
    names = [name for name in values[0] if all(name in each for each in values)]
    return {name: float(np.mean([each[name] for each in values])) for name in names}


def _mean_by_speaker(values: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    names = [name for name in values[0] if all(name in each for each in values)]
    return {name: _mean([each[name] for each in values]) for name in names}
