"""Metrics against those who define them: scikit-learn, scipy, jiwer."""

import jiwer
import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, mean_absolute_error

from benchmarks.dynamic_superb import measures
from benchmarks.dynamic_superb.answers import Answered
from benchmarks.dynamic_superb.instance import Question
from benchmarks.dynamic_superb.measures import (
    check_measurable,
    figures,
    labels_outside,
    number_in,
    outside_options,
    without_number,
)
from perser.errors import UserError

OPTIONS = ("happy", "sad", "angry")


def answered(label: str, answer: str, options: tuple[str, ...] = ()) -> Answered:
    return Answered(Question("f", "i", label, options), answer)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_accuracy_is_scikit_learns(rng):
    labels, said = rng.choice(OPTIONS, size=(2, 60))
    shouted = [f" {one.upper()}." for one in said]
    found = figures(
        "classification", [answered(*pair, OPTIONS) for pair in zip(labels, shouted, strict=True)]
    )
    one = found["accuracy"]
    assert one.mean == pytest.approx(accuracy_score(labels, said))
    spread = 1.96 * (one.mean * (1 - one.mean) / 60) ** 0.5
    assert (one.low, one.high) == pytest.approx((one.mean - spread, one.mean + spread), abs=0.03)


def test_an_answer_outside_the_options_is_wrong_and_counted():
    some = [
        answered("happy", "Happy!", OPTIONS),
        answered("happy", "glad", OPTIONS),
        answered("happy", "the speaker is happy", OPTIONS),
        answered("glad", "glad", OPTIONS),
        answered("glad", "glad"),
    ]
    assert [one.correct for one in some] == [True, False, False, False, True]
    assert outside_options(some) == 3 / 4
    assert labels_outside(some) == 1
    assert outside_options(some[-1:]) is None


def test_pearson_and_error_are_scipys_and_scikit_learns(rng):
    labels = rng.uniform(1, 5, size=40)
    said = labels + rng.normal(size=40)
    some = [answered(str(label), f"I say {one}.") for label, one in zip(labels, said, strict=True)]
    found = figures("regression", [*some, answered("3", "no idea")])
    assert found["pearson"].mean == pytest.approx(pearsonr(labels, said).statistic)
    assert found["mae"].mean == pytest.approx(mean_absolute_error(labels, said))
    bounds = pearsonr(labels, said).confidence_interval()
    assert (found["pearson"].low, found["pearson"].high) == pytest.approx((bounds.low, bounds.high), abs=0.1)
    assert without_number([*some, answered("3", "no idea")]) == pytest.approx(1 / 41)


def test_pearson_of_one_and_the_same_answer_has_no_value():
    found = figures("regression", [answered(str(label), "3") for label in (1, 2, 3)])
    assert np.isnan([found["pearson"].mean, found["pearson"].low]).all()
    assert found["mae"].mean == 1
    nothing = figures("regression", [answered("1", "?")])
    assert np.isnan([nothing["pearson"].mean, nothing["mae"].mean]).all()


@pytest.mark.parametrize(
    ("answer", "number"),
    [("3.5 out of 5", 3.5), ("-2", -2), ("MOS: .75", 0.75), ("4.", 4), ("1e-2", 0.01), ("three", None)],
)
def test_the_number_in_an_answer(answer, number):
    assert number_in(answer) == number


def test_word_errors_are_jiwers():
    pairs = [
        ("the bus stops here", "the bus stops"),
        ("it is nearly eleven", "it was nearly eleven o clock"),
        ("we live near here", "we live near here"),
        ("his brother plays chess", ""),
    ]
    dressed = [answered(f"{label.capitalize()}.", answer.upper()) for label, answer in pairs]
    found = figures("generation", dressed)["wer"]
    labels, said = zip(*pairs, strict=True)
    assert found.mean == pytest.approx(jiwer.wer(list(labels), list(said)))
    assert found.low < found.mean < found.high


def test_what_cannot_be_measured_is_said_first(monkeypatch):
    with pytest.raises(UserError, match="x: a regression, but its label 'high' is no number"):
        check_measurable("regression", ["1", "high"], "x")
    with pytest.raises(UserError, match="no label has a word"):
        figures("generation", [answered("...", "a")])
    monkeypatch.setattr(
        measures, "require_package", lambda *what: (_ for _ in ()).throw(UserError(" ".join(what)))
    )
    with pytest.raises(UserError, match="jiwer dynamic-superb word error rate"):
        check_measurable("generation", ["a"], "x")
