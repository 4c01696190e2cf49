"""A few sentences for a person in a hurry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.reporting.formats import minus
from perser.io.terminal import counted

USUAL_LABELS = 32
"""The sentence is about so many labels, or the most below that which enough listeners have."""

MAJORITY = "10"

MAIN_SHARE = 0.5
"""An emotion with more than this share of the variance of all biases is named."""

TENTHS = (
    *("almost nothing", "a tenth", "two tenths", "three tenths", "four tenths", "half"),
    *("six tenths", "seven tenths", "eight tenths", "nine tenths", "nearly all"),
)

WAYS = {
    "reliability": "how closely they follow the others",
    "construal": "how readily they say {pivot} where the others hear something else",
    "confusion": "which emotions they take for which",
}

NOUNS = {
    "bias": "a bias",
    "reliability": "a reliability (temperature)",
    "construal": "a construal",
    "confusion": "a confusion matrix",
}


def sentence(content: Mapping[str, Any]) -> str:
    """Return what the content of ceiling.json comes to."""
    alpha = f"{content['alpha']['mean']:.2f}"
    agreement = (
        f"Krippendorff's alpha is {minus(alpha)} (1: all agree; 0: as by chance). No prediction from the "
        f"answers can be expected to agree with a majority of {MAJORITY} listeners on more than "
        f"{100 * content['ceiling'][MAJORITY]['mean']:.0f}% of the utterances."
    )
    if content["ladder"] is None:
        return f"It cannot be said how the listeners differ. {agreement}"
    listeners = f"Your {content['ladder_listeners']} listeners"
    rungs = [rung for rung in content["ladder"] if rung["adds"]]
    if not rungs:
        return (
            f"{listeners} do not differ in any repeatable way that these labels show: all ways to differ "
            f"together gain {_nats(content['total'])}. {agreement}"
        )
    main = max(rungs, key=lambda rung: rung["gain"]["mean"])
    labels, gains, total = _at_usual_size(content)
    differ = f"{listeners} differ mostly in {_way(main['name'], content)}"
    if total["low"] <= 0:
        return f"{differ}; with {labels} nothing can be gained for certain: {_nats(total)}. {agreement}"
    share = gains[main["name"]] / total["mean"]
    tenths = TENTHS[min(max(round(10 * share), 0), 10)]
    return (
        f"{differ}; with {labels} at most {_nats(total)} can be gained, {tenths} of it by "
        f"{NOUNS[main['name']]}. {agreement}"
    )


def _at_usual_size(content: Mapping[str, Any]) -> tuple[str, dict[str, float], Mapping[str, float]]:
    """Return how many labels, what each rung gains with them, and what all gain."""
    sizes = [point for point in content["curve"] if point["gains"] and point["k"] <= USUAL_LABELS]
    if sizes:
        return counted(sizes[-1]["k"], "label"), _means(sizes[-1]["gains"]), sizes[-1]["total"]
    return "four fifths of the labels", _means(content["ladder"]), content["total"]


def _means(rungs: list[Mapping[str, Any]]) -> dict[str, float]:
    return {rung["name"]: rung["gain"]["mean"] for rung in rungs}


def _way(rung: str, content: Mapping[str, Any]) -> str:
    if rung in WAYS:
        return WAYS[rung].format(pivot=content["pivot"])
    variances = {emotion: deviation**2 for emotion, deviation in content["deviations"]["bias"].items()}
    emotion = max(variances, key=variances.__getitem__)
    if variances[emotion] > MAIN_SHARE * sum(variances.values()):
        return f"how readily they say {emotion}"
    return "how readily they say each emotion"


def _nats(value: Mapping[str, float]) -> str:
    """Format a gain with its interval."""
    return minus(f"{value['mean']:.3f} nats an answer ({value['low']:.3f} to {value['high']:.3f})")
