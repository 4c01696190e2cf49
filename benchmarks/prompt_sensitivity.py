"""How much an in-context method's scores depend on the wording of its prompt.

The same episodes are answered with every instruction, every kind of label words and every order of the
enrollment. The variance of the scores is divided among these and the episodes (a balanced analysis of
variance), so that one reads how much of it is made by wording alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.measuring.statistics import (
    EpisodeScores,
    bootstrap_intervals,
    bootstrap_item_interval,
    metric_difference,
)
from perser.errors import UserError
from perser.personalizer import Personalizer
from speechlm_icl.in_context import InContextPersonalizer
from speechlm_icl.prompt.wordings import INSTRUCTIONS, LABEL_WORDS, NAMES_OF_EMOTIONS, OWN, instruction_with

RESAMPLES = 500
"""Of the interval of a share."""

Wording = tuple[str, str]
"""The names of an instruction and of label words."""


def instructions_of(own: Sequence[str] | None) -> dict[str, str | None]:
    """Return instructions by name: the method's own, and those that are given, or else INSTRUCTIONS.

    Raises UserError for an empty one, or one that occurs twice.
    """
    if own is None:
        return INSTRUCTIONS
    if not all(text.strip() for text in own) or len(set(own)) != len(own):
        raise UserError("instructions: one is empty, or occurs twice: give texts that differ")
    return {OWN: None} | {f"instruction {number}": text for number, text in enumerate(own, start=1)}


def worded_methods(
    method: Personalizer, instructions: Mapping[str, str | None]
) -> Iterator[tuple[Wording, Personalizer]]:
    """Yield the method with each wording, the method's own first.

    Raises UserError for a method without a prompt, and for words that its model cannot read.
    """
    if not isinstance(method, InContextPersonalizer):
        raise UserError(
            "wordings: the method has no prompt that can be worded: measure speech-lm or audio-llm"
        )
    for instruction, label_words in product(instructions, LABEL_WORDS):
        words = LABEL_WORDS[label_words](method.emotions.names)
        text = instructions[instruction]
        worded = method.worded(None if text is None else instruction_with(text, words), words)
        yield (instruction, label_words), worded


def compare_wordings(
    scores: Mapping[Wording, Mapping[str, Sequence[EpisodeScores]]], metrics: Sequence[str]
) -> dict[str, Any]:
    """Return `wordings` of controls.json.

    Args:
        scores: By wording and order, the scores of the same episodes.
        metrics: The metrics that are compared.
    """
    means = {wording: _mean_over_orders(list(orders.values()), metrics) for wording, orders in scores.items()}
    base = means[OWN, NAMES_OF_EMOTIONS]
    rows: list[dict[str, Any]] = [
        {
            "instruction": instruction,
            "label_words": label_words,
            "metrics": {name: each.as_json() for name, each in bootstrap_intervals(episodes).items()},
            "differences": {
                metric: {"metric": metric} | metric_difference(episodes, base, metric).as_json()
                for metric in metrics
                if (instruction, label_words) != (OWN, NAMES_OF_EMOTIONS)
            },
        }
        for (instruction, label_words), episodes in means.items()
    ]
    persons: dict[str, list[int]] = defaultdict(list)
    for number, episode in enumerate(base):
        persons[episode.person].append(number)
    by_person = list(persons.values())
    shares = {}
    for metric in metrics:
        table = _table(scores, metric)
        found = variance_shares(table)
        interval = bootstrap_item_interval(_share_of_wording(table, by_person), len(by_person), 0, RESAMPLES)
        averages = [row["metrics"][metric]["mean"] for row in rows]
        shares[metric] = found | {
            "wording": interval.as_json(),
            "best_minus_worst": max(averages) - min(averages),
        }
    return {"rows": rows, "shares": shares, "orders": len(next(iter(scores.values())))}


def variance_shares(table: np.ndarray) -> dict[str, float]:
    """Divide the variance of scores (instructions, label words, orders, episodes) among what makes it.

    The shares sum to 1. `both` is what an instruction does with some label words and not with others; `rest`
    is every other interaction. All are 0 where no score varies.
    """
    grand = table.mean()
    total = float(((table - grand) ** 2).sum())

    def share(*kept: int) -> float:
        """Return the share of the means over all axes but these."""
        means = table.mean(axis=tuple(axis for axis in range(4) if axis not in kept))
        return float(((means - grand) ** 2).sum()) * table.size / means.size / total if total else 0.0

    alone = {"instruction": share(0), "label words": share(1), "order": share(2), "episode": share(3)}
    both = share(0, 1) - alone["instruction"] - alone["label words"]
    shares = alone | {"both": both}
    return shares | {"rest": 1 - sum(shares.values()) if total else 0.0}


def _share_of_wording(table: np.ndarray, by_person: Sequence[Sequence[int]]) -> Callable[[np.ndarray], float]:
    def statistic(persons: np.ndarray) -> float:
        episodes = [number for person in persons for number in by_person[person]]
        shares = variance_shares(table[..., episodes])
        return shares["instruction"] + shares["label words"] + shares["both"]

    return statistic


def _table(scores: Mapping[Wording, Mapping[str, Sequence[EpisodeScores]]], metric: str) -> np.ndarray:
    """Return a metric as (instructions, label words, orders, episodes)."""
    instructions, kinds = (list(dict.fromkeys(each)) for each in zip(*scores, strict=True))
    return np.array(
        [
            [
                [
                    [episode.metrics[metric] for episode in order]
                    for order in scores[instruction, kind].values()
                ]
                for kind in kinds
            ]
            for instruction in instructions
        ]
    )


def _mean_over_orders(
    orders: Sequence[Sequence[EpisodeScores]], metrics: Sequence[str]
) -> list[EpisodeScores]:
    return [
        EpisodeScores(
            same[0].person,
            same[0].episode_id,
            {metric: float(np.mean([episode.metrics[metric] for episode in same])) for metric in metrics},
        )
        for same in zip(*orders, strict=True)
    ]
