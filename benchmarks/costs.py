"""What methods cost: parameters, seconds, memory. Apart from results.json, which a seed gives again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.pooling import pooled_by_setting
from benchmarks.scores import Scores

COSTS = "costs.json"


def costs(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """The content of costs.json: a row for each setting and method."""
    return [
        {"method": method.parts[0].method}
        | setting
        | method.parts[0].parameters
        | {
            "seconds_personalize": method.seconds("seconds_personalize"),
            "seconds_predict": method.seconds("seconds_predict"),
            "peak_bytes": method.peak_bytes,
        }
        for setting, _, methods in pooled_by_setting(scores)
        for method in methods
    ]
