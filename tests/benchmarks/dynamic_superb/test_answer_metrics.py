"""The kind of an instance, and its metrics compared with scikit-learn, scipy and jiwer."""

import jiwer
import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, mean_absolute_error

from benchmarks.dynamic_superb import answer_metrics
from benchmarks.dynamic_superb.answer_metrics import (
    check_measurable,
    kind_of,
    labels_outside,
    measure_answers,
    number_in,
    outside_options,
    resolve_kind,
    without_number,
)
from benchmarks.dynamic_superb.ask import AnsweredItem
from benchmarks.dynamic_superb.instance import Item
from perser.errors import UserError

OPTIONS = ("happy", "sad", "angry")


def answered(label: str, answer: str, options: tuple[str, ...] = ()) -> AnsweredItem:
    return AnsweredItem(Item("f", "i", label, options), answer)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_accuracy_matches_scikit_learns(rng):
    labels, answers = rng.choice(OPTIONS, size=(2, 60))
    shouted = [f" {answer.upper()}." for answer in answers]
    found = measure_answers(
        "classification", [answered(*pair, OPTIONS) for pair in zip(labels, shouted, strict=True)]
    )
    accuracy = found["accuracy"]
    assert accuracy.mean == pytest.approx(accuracy_score(labels, answers))
    spread = 1.96 * (accuracy.mean * (1 - accuracy.mean) / 60) ** 0.5
    assert (accuracy.low, accuracy.high) == pytest.approx(
        (accuracy.mean - spread, accuracy.mean + spread), abs=0.03
    )


def test_an_answer_outside_the_options_is_wrong_and_counted():
    some = [
        answered("happy", "Happy!", OPTIONS),
        answered("happy", "glad", OPTIONS),
        answered("happy", "the speaker is happy", OPTIONS),
        answered("glad", "glad", OPTIONS),
        answered("glad", "glad"),
    ]
    assert [each.correct for each in some] == [True, False, False, False, True]
    assert outside_options(some) == 3 / 4
    assert labels_outside(some) == 1
    assert outside_options(some[-1:]) is None


def test_pearson_and_error_match_scipys_and_scikit_learns(rng):
    labels = rng.uniform(1, 5, size=40)
    answers = labels + rng.normal(size=40)
    some = [answered(str(label), f"I say {answer}.") for label, answer in zip(labels, answers, strict=True)]
    found = measure_answers("regression", [*some, answered("3", "no idea")])
    assert found["pearson"].mean == pytest.approx(pearsonr(labels, answers).statistic)
    assert found["mae"].mean == pytest.approx(mean_absolute_error(labels, answers))
    bounds = pearsonr(labels, answers).confidence_interval()
    assert (found["pearson"].low, found["pearson"].high) == pytest.approx((bounds.low, bounds.high), abs=0.1)
    assert without_number([*some, answered("3", "no idea")]) == pytest.approx(1 / 41)


def test_pearson_of_constant_answers_has_no_value():
    found = measure_answers("regression", [answered(str(label), "3") for label in (1, 2, 3)])
    assert np.isnan([found["pearson"].mean, found["pearson"].low]).all()
    assert found["mae"].mean == 1
    nothing = measure_answers("regression", [answered("1", "?")])
    assert np.isnan([nothing["pearson"].mean, nothing["mae"].mean]).all()


@pytest.mark.parametrize(
    ("answer", "number"),
    [("3.5 out of 5", 3.5), ("-2", -2), ("MOS: .75", 0.75), ("4.", 4), ("1e-2", 0.01), ("three", None)],
)
def test_the_first_number_in_an_answer_counts(answer, number):
    assert number_in(answer) == number


def test_word_errors_match_jiwers():
    pairs = [
        ("the bus stops here", "the bus stops"),
        ("it is nearly eleven", "it was nearly eleven o clock"),
        ("we live near here", "we live near here"),
        ("his brother plays chess", ""),
    ]
    dressed = [answered(f"{label.capitalize()}.", answer.upper()) for label, answer in pairs]
    found = measure_answers("generation", dressed)["wer"]
    labels, answers = zip(*pairs, strict=True)
    assert found.mean == pytest.approx(jiwer.wer(list(labels), list(answers)))
    assert found.low < found.mean < found.high


def test_what_cannot_be_measured_is_refused(monkeypatch):
    with pytest.raises(UserError, match="x: a regression, but its label 'high' is no number"):
        check_measurable("regression", ["1", "high"], "x")
    with pytest.raises(UserError, match="no label has a word"):
        measure_answers("generation", [answered("...", "a")])
    monkeypatch.setattr(
        answer_metrics, "require_package", lambda *what: (_ for _ in ()).throw(UserError(" ".join(what)))
    )
    with pytest.raises(UserError, match="jiwer dynamic-superb word error rate"):
        check_measurable("generation", ["a"], "x")


@pytest.mark.parametrize(
    ("metrics", "options", "kind"),
    [
        (["accuracy"], False, "classification"),
        (["Macro-F1", "accuracy_score"], True, "classification"),
        (["MSE", "LCC", "SRCC", "KTAU"], False, "regression"),
        (["Pearson correlation coefficient"], False, "regression"),
        (["mean_absolute_error"], True, "regression"),
        (["WER"], False, "generation"),
        (["Word Error Rate"], False, "generation"),
        (["sacrebleu"], False, "generation"),
        (["WER", "accuracy"], True, "classification"),
        (["WER", "accuracy"], False, "generation"),
        ([], True, "classification"),
        (["vibes"], True, "classification"),
        (["vibes"], False, None),
    ],
)
def test_the_kind_of_an_instance_follows_from_metrics_and_options(metrics, options, kind):
    assert kind_of(metrics, options) == kind


def test_a_requested_kind_overrides_the_metrics():
    assert resolve_kind("generation", ["accuracy"], True, "x") == "generation"


def test_an_instance_of_unknown_kind_is_refused():
    with pytest.raises(UserError, match=r"x: its metrics \(vibes\) do not tell.*--kind"):
        resolve_kind("auto", ["vibes"], False, "x")
