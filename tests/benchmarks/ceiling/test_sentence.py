"""The sentence for a person in a hurry says what the figures say."""

import pytest

from benchmarks.ceiling.sentence import sentence


def gain(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


@pytest.fixture
def content():
    def rungs(bias, confusion):
        means = {"bias": bias, "reliability": 0.0, "construal": 0.0, "confusion": confusion}
        return [{"name": name, "gain": gain(mean), "adds": mean > 0.01} for name, mean in means.items()]

    curve = [
        {"k": k, "listeners": 12, "gains": rungs(k / 400, 0.009), "total": gain(k / 400 + 0.009)}
        for k in (4, 32, 64)
    ]
    return {
        "alpha": gain(0.3),
        "ceiling": {"10": gain(0.7)},
        "ladder_listeners": 12,
        "ladder": rungs(0.2, 0.05),
        "total": gain(0.25),
        "curve": curve,
        "pivot": "neutral",
        "deviations": {"bias": {"angry": 0.1, "neutral": 0.9, "sad": 0.2}},
    }


def test_the_main_way_to_differ_and_its_share_are_named(content):
    text = sentence(content)
    assert text.startswith(
        "Your 12 listeners differ mostly in how readily they say neutral; with 32 labels at most 0.089"
    )
    assert "nine tenths of it by a bias" in text
    assert "alpha is 0.30 (1: all agree; 0: as by chance)." in text
    assert "more than 70%" in text


def test_no_emotion_is_named_where_all_biases_vary(content):
    content["deviations"]["bias"] = dict.fromkeys(("angry", "neutral", "sad"), 0.5)
    assert "how readily they say each emotion" in sentence(content)


def test_a_rung_that_gains_most_is_named(content):
    content["ladder"][3]["gain"] = gain(0.9)
    assert "which emotions they take for which" in sentence(content)


def test_identical_listeners_are_said_not_to_differ(content):
    content["ladder"] = [rung | {"adds": False} for rung in content["ladder"]]
    content["total"] = gain(0.0)
    assert "do not differ in any repeatable way" in sentence(content)


def test_too_few_labels_for_a_gain_are_said_to_gain_nothing_for_certain(content):
    content["curve"] = content["curve"][:1]
    content["curve"][0]["total"] = gain(0.005)
    assert "with 4 labels nothing can be gained for certain" in sentence(content)


def test_unknown_listeners_are_not_said_to_differ(content):
    assert sentence(content | {"ladder": None}).startswith("It cannot be said how the listeners differ")
