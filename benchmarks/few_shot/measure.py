"""Let every method answer the draws of a setting, and average accuracies over persons with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.few_shot.classifiers import (
    STRENGTHS,
    Features,
    best_elsewhere,
    logistic_regression,
    nearest_mean,
)
from benchmarks.few_shot.draws import Draw, shuffled
from benchmarks.few_shot.models import Models
from benchmarks.measuring.statistics import bootstrap_interval, paired_difference
from perser.errors import UserError
from perser.personalizer import Personalizer
from perser.progress import progress_bar

LEADING = "speech-lm"

METHODS = (LEADING, "shuffled", "meta-perser", "nearest-mean", "logistic-regression")

Accuracies = dict[str, list[float]]
"""By person, the accuracy of each draw."""

Answerer = Callable[[Draw], Sequence[str] | None]


def measure(draws: Sequence[Draw], models: Models, title: str) -> dict[str, Any]:
    """Return the rows of a setting, and how far the leading method is ahead of each other one.

    Args:
        draws: Of all persons.
        models: The models and the features.
        title: Shown at the progress bars.

    A row that a model cannot give is None: there is no such model, or the enrollment does not fit into it,
    which `problems` then says.
    """
    problems: dict[str, str] = {}
    accuracies: dict[str, Accuracies | None] = dict.fromkeys(METHODS)
    for method, answerer in _answerers(models).items():
        try:
            accuracies[method] = _accuracies(answerer, draws, f"{title}: {method}")
        except UserError as error:
            problems[method] = str(error)
    accuracies["logistic-regression"] = _regression(draws, models.features, title)
    rows = {method: None if own is None else _row(own) for method, own in accuracies.items()}
    leading = accuracies[LEADING]
    ahead = {
        method: _ahead(leading, own)
        for method, own in accuracies.items()
        if method != LEADING and own is not None and leading is not None
    }
    return {"rows": rows, "ahead": ahead, "setting": _setting(draws) | {"problems": problems}}


def _answerers(models: Models) -> dict[str, Answerer]:
    """Return how each method but logistic regression answers a draw."""
    answerers: dict[str, Answerer] = {"nearest-mean": lambda draw: nearest_mean(draw, models.features)}
    if (speech_lm := models.personalizers.get(LEADING)) is not None:
        answerers[LEADING] = lambda draw: answers_of(speech_lm, draw)
        answerers["shuffled"] = lambda draw: answers_of(speech_lm, shuffled(draw), needs_pairs=True)
    if (gradient := models.personalizers.get("meta-perser")) is not None:
        answerers["meta-perser"] = lambda draw: answers_of(gradient, draw, needs_pairs=True)
    return answerers


def answers_of(personalizer: Personalizer, draw: Draw, needs_pairs: bool = False) -> list[str] | None:
    """Return the likeliest label of each query after the draw's enrollment; None where that is empty and the
    method needs pairs."""
    if needs_pairs and not len(draw.support):
        return None
    predictor = personalizer.with_labels(draw.labels).personalize(draw.support)
    probabilities = predictor.predict_proba(draw.queries)
    return [draw.labels.names[place] for place in probabilities.argmax(axis=1)]


def _accuracies(answerer: Answerer, draws: Sequence[Draw], title: str) -> Accuracies | None:
    """Return one method's accuracies; None where it has no answers to one of the draws."""
    by_person: Accuracies = defaultdict(list)
    with progress_bar(len(draws), title) as bar:
        for draw in draws:
            given = answerer(draw)
            if given is None:
                return None
            by_person[draw.person].append(draw.accuracy(given))
            bar.update()
    return dict(by_person)


def _regression(draws: Sequence[Draw], features: Features, title: str) -> Accuracies | None:
    """Return the accuracies of logistic regression, its strength chosen on the other persons."""
    by_strength: dict[float, Accuracies] = {}
    for strength in STRENGTHS:
        found = _accuracies(
            partial(logistic_regression, features=features, strength=strength),
            draws,
            f"{title}: logistic-regression, C = {strength:g}",
        )
        if found is None:
            return None
        by_strength[strength] = found
    return best_elsewhere(by_strength)


def _row(accuracies: Mapping[str, Sequence[float]]) -> dict[str, float]:
    interval = bootstrap_interval(accuracies)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _ahead(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the paired difference a - b on the same draws."""
    of_a, of_b = (
        {
            (person, str(number)): value
            for person, values in each.items()
            for number, value in enumerate(values)
        }
        for each in (a, b)
    )
    return paired_difference(of_a, of_b).as_json()


def _setting(draws: Sequence[Draw]) -> dict[str, float]:
    """Return how many persons and draws a setting has, and what guessing would score."""
    return {
        "persons": len({draw.person for draw in draws}),
        "draws": len(draws),
        "asked": float(np.mean([len(draw.queries) for draw in draws])),
        "classes": float(np.mean([len(draw.labels) for draw in draws])),
        "chance": float(np.mean([1 / len(draw.labels) for draw in draws])),
    }
