"""Say in a sentence what a model answers about a clip, and what changed in its answer."""

from __future__ import annotations

from collections.abc import Mapping

from perser.inference.prediction import Classification, Prediction

LEAST = 0.005
"""Changes of a probability below this are not mentioned: they are printed in whole percent."""

MOST_CHANGES = 3


def summary(prediction: Prediction) -> str:
    """Say which label is the most likely, with the person's examples and without them."""
    text = f"Most likely: {_likeliest(prediction)}"
    if prediction.unadapted is None:
        return f"{text}."
    return f"{text}. Without your examples: {_likeliest(prediction.unadapted)}."


def changes(before: Mapping[str, float] | None, now: Mapping[str, float]) -> str:
    """Say how the probabilities of an answer differ from those before the last change of the examples; empty
    where there was no answer before."""
    if before is None:
        return ""
    if set(before) != set(now):
        return f"Since your last change, the labels to choose from are {', '.join(now)}."
    moved = [label for label in now if abs(now[label] - before[label]) >= LEAST]
    if not moved:
        return "Your last change moved no label by a percent."
    moved.sort(key=lambda label: -round(abs(now[label] - before[label]), 2))
    parts = [_move(label, before[label], now[label]) for label in moved[:MOST_CHANGES]]
    text = f"Since your last change, {_joined(parts)}."
    first, second = (max(answer, key=answer.__getitem__) for answer in (before, now))
    return text if first == second else f"{text} The most likely label was {first}, and is now {second}."


def _move(label: str, before: float, now: float) -> str:
    return f"{label} {'rose' if now > before else 'fell'} from {before:.0%} to {now:.0%}"


def _likeliest(answer: Classification) -> str:
    label = max(answer.probabilities, key=answer.probabilities.__getitem__)
    return f"{label} ({answer.probabilities[label]:.0%})"


def _joined(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
