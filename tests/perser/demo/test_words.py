"""What changed in an answer is said in a sentence."""

from __future__ import annotations

import pytest

from perser.demo.words import changes, summary
from perser.inference.prediction import Classification, Prediction


def test_the_likeliest_label_is_named_with_and_without_the_examples():
    alone = Prediction({"angry": 0.26, "sad": 0.74}, ("sad",), 0.1, path="clip 1")
    assert summary(alone) == "Most likely: sad (74%)."
    without = Classification({"angry": 0.6, "sad": 0.4}, ("angry",), 0.1)
    both = Prediction(alone.probabilities, ("sad",), 0.1, path="clip 1", unadapted=without)
    assert summary(both) == "Most likely: sad (74%). Without your examples: angry (60%)."


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, {"a": 1.0}, ""),
        ({"a": 0.5, "b": 0.5}, {"a": 0.501, "b": 0.499}, "Your last change moved no label by a percent."),
        (
            {"a": 0.6, "b": 0.4},
            {"a": 0.7, "b": 0.3},
            "Since your last change, a rose from 60% to 70% and b fell from 40% to 30%.",
        ),
        (
            {"a": 0.6, "b": 0.4, "c": 0.0},
            {"a": 0.3, "b": 0.4, "c": 0.3},
            "Since your last change, a fell from 60% to 30% and c rose from 0% to 30%. The most likely "
            "label was a, and is now b.",
        ),
        (
            {"a": 1.0},
            {"calm": 0.5, "dry": 0.5},
            "Since your last change, the labels to choose from are calm, dry.",
        ),
    ],
)
def test_changes_are_said_in_whole_percent(before, now, expected):
    assert changes(before, now) == expected


def test_only_the_largest_changes_are_said():
    before = dict(zip("abcde", (0.2, 0.2, 0.2, 0.2, 0.2), strict=True))
    now = dict(zip("abcde", (0.5, 0.18, 0.17, 0.1, 0.05), strict=True))
    assert changes(before, now) == (
        "Since your last change, a rose from 20% to 50%, e fell from 20% to 5% and d fell from 20% to 10%."
    )
