"""Tell what kind an instance is, and measure its answers by that kind's metrics.

A classification is measured by accuracy, a regression by Pearson correlation and mean absolute error, a
generation by word error rate.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy import stats

from benchmarks.dynamic_superb.ask import AnsweredItem
from benchmarks.measuring.statistics import Interval, bootstrap_item_interval
from perser.errors import UserError, require_package

Kind = Literal["classification", "regression", "generation"]

METRIC_NAMES: dict[Kind, re.Pattern[str]] = {
    "classification": re.compile(r"accura|exact match|f1|precision|recall|\b(acc|uar|em)\b"),
    "regression": re.compile(
        r"pearson|spearman|kendall|correlation|(absolute|squared) error|\b(mae|r?mse|[lps]r?cc|ktau)\b"
    ),
    "generation": re.compile(
        r"(word|character|phone\w*) error|edit distance|\b(wer|cer|per|\w*bleu|rouge\w*|meteor)\b"
    ),
}
"""What instances call the metrics of each kind (`_` is read as a space)."""

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def kind_of(metrics: Sequence[str], every_item_has_options: bool) -> Kind | None:
    """Return the kind of an instance; None where neither its metrics nor its options tell.

    If its metrics are of several kinds, an instance with options is a classification; otherwise the first
    metric decides.
    """
    named = [kind for metric in metrics if (kind := _kind_of_metric(metric))]
    if every_item_has_options and ("classification" in named or not named):
        return "classification"
    return named[0] if named else None


def resolve_kind(
    requested: Kind | Literal["auto"], metrics: Sequence[str], every_item_has_options: bool, instance: str
) -> Kind:
    """Return the requested kind, or `kind_of` for `auto`. Raises UserError where neither tells."""
    kind = kind_of(metrics, every_item_has_options) if requested == "auto" else requested
    if kind is None:
        raise UserError(
            f"{instance}: its metrics ({', '.join(metrics) or 'none'}) do not tell its kind: "
            f"give --kind {', '.join(get_args(Kind))}"
        )
    return kind


def check_measurable(kind: Kind, labels: Sequence[str], instance: str) -> None:
    """Raise UserError where answers could not be measured afterwards; called before the model is asked."""
    if kind == "generation":
        require_package("jiwer", "dynamic-superb", "word error rate")
    if kind == "regression":
        for label in labels:
            try:
                float(label)
            except ValueError:
                raise UserError(f"{instance}: a regression, but its label '{label}' is no number") from None


def measure_answers(kind: Kind, answered: Sequence[AnsweredItem]) -> dict[str, Interval]:
    """Return the kind's metrics, its main one first, each with its 95% bootstrap interval over items.

    classification: `accuracy`. regression: `pearson` (nan where answers or labels do not vary) and `mae`,
    over the answers that hold a number. generation: `wer`, errors over all reference words.
    """
    return {"classification": _accuracy, "regression": _regression, "generation": _wer}[kind](answered)


def outside_options(answered: Sequence[AnsweredItem]) -> float | None:
    """Return the share of answers outside the options, of items with options; None without such items."""
    within = [each.within_options for each in answered if each.within_options is not None]
    return float(1 - np.mean(within)) if within else None


def labels_outside(answered: Sequence[AnsweredItem]) -> int:
    """Count the labels that are none of their item's options.

    Then the data is wrong, or the options were not read correctly out of the instruction.
    """
    labels = [AnsweredItem(each.item, each.item.label).within_options for each in answered]
    return labels.count(False)


def without_number(answered: Sequence[AnsweredItem]) -> float:
    """Return the share of answers that hold no number."""
    return float(np.mean([number_in(each.answer) is None for each in answered]))


def number_in(answer: str) -> float | None:
    """Return the first number in an answer; None where there is none."""
    match = _NUMBER.search(answer)
    return float(match[0]) if match else None


def normalized_words(text: str) -> str:
    """Return a text as its words are compared: lower case, no (Unicode) punctuation, single spaces."""
    import jiwer

    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces()])
    return plain(text).strip()


def _kind_of_metric(metric: str) -> Kind | None:
    words = re.sub(r"[\W_]+", " ", metric).lower()
    return next((kind for kind, names in METRIC_NAMES.items() if names.search(words)), None)


def _accuracy(answered: Sequence[AnsweredItem]) -> dict[str, Interval]:
    correct = np.array([each.correct for each in answered], dtype=np.float64)
    return {"accuracy": bootstrap_item_interval(lambda items: correct[items].mean(), len(correct))}


def _regression(answered: Sequence[AnsweredItem]) -> dict[str, Interval]:
    numbers = [(number_in(each.answer), float(each.item.label)) for each in answered]
    pairs = np.array([(answer, label) for answer, label in numbers if answer is not None], dtype=np.float64)
    if not len(pairs):
        unknown = Interval(np.nan, np.nan, np.nan)
        return {"pearson": unknown, "mae": unknown}
    answers, labels = pairs.T
    errors = np.abs(answers - labels)
    return {
        "pearson": bootstrap_item_interval(lambda items: _pearson(answers[items], labels[items]), len(pairs)),
        "mae": bootstrap_item_interval(lambda items: errors[items].mean(), len(pairs)),
    }


def _pearson(answers: np.ndarray, labels: np.ndarray) -> float:
    if len(answers) < 2:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (stats.ConstantInputWarning, stats.NearConstantInputWarning))
        return float(stats.pearsonr(answers, labels).statistic)


def _wer(answered: Sequence[AnsweredItem]) -> dict[str, Interval]:
    import jiwer

    counts = []
    for each in answered:
        alignment = jiwer.process_words(normalized_words(each.item.label), normalized_words(each.answer))
        errors = alignment.substitutions + alignment.deletions + alignment.insertions
        counts.append((errors, alignment.hits + alignment.substitutions + alignment.deletions))
    errors, words = np.array(counts, dtype=np.float64).T
    if not words.sum():
        raise UserError("a generation, but no label has a word in it: there is no word error rate")

    def rate(items: np.ndarray) -> float:
        return errors[items].sum() / max(words[items].sum(), 1)

    return {"wer": bootstrap_item_interval(rate, len(words))}
