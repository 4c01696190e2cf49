"""What the answers to an instance are worth: accuracy, Pearson and mean absolute error, or word errors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmarks.dynamic_superb.answers import Answered
from benchmarks.dynamic_superb.kinds import Kind
from benchmarks.measuring.statistics import Interval, item_interval
from perser.errors import UserError, require

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def check_measurable(kind: Kind, labels: Sequence[str], instance: str) -> None:
    """Raises UserError, before anything is asked, where answers could not be measured afterwards."""
    if kind == "generation":
        require("jiwer", "dynamic-superb", "word error rate")
    if kind == "regression":
        for label in labels:
            try:
                float(label)
            except ValueError:
                raise UserError(f"{instance}: a regression, but its label '{label}' is no number") from None


def figures(kind: Kind, answered: Sequence[Answered]) -> dict[str, Interval]:
    """The kind's metrics, its main one first, each with its 95% bootstrap interval over items.

    classification: `accuracy`. regression: `pearson` (nan where answers or labels do not vary) and `mae`,
    over the answers that hold a number. generation: `wer`, errors over all reference words.
    """
    return {"classification": _accuracy, "regression": _regression, "generation": _wer}[kind](answered)


def outside_options(answered: Sequence[Answered]) -> float | None:
    """The share of answers that are none of their question's options, of the questions that have options;
    None where none has."""
    within = [one.within_options for one in answered if one.within_options is not None]
    return float(1 - np.mean(within)) if within else None


def labels_outside(answered: Sequence[Answered]) -> int:
    """How many labels are none of their question's options: the data's fault, or the reading of its
    instructions."""
    labels = [Answered(one.question, one.question.label).within_options for one in answered]
    return labels.count(False)


def without_number(answered: Sequence[Answered]) -> float:
    """The share of answers that hold no number."""
    return float(np.mean([number_in(one.answer) is None for one in answered]))


def number_in(answer: str) -> float | None:
    """The first number in an answer, None where there is none."""
    found = _NUMBER.search(answer)
    return float(found[0]) if found else None


def words_of(text: str) -> str:
    """What words are compared by: lower case, no punctuation (Unicode's), single spaces."""
    import jiwer

    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces()])
    return plain(text).strip()


def _accuracy(answered: Sequence[Answered]) -> dict[str, Interval]:
    correct = np.array([one.correct for one in answered], dtype=np.float64)
    return {"accuracy": item_interval(lambda items: correct[items].mean(), len(correct))}


def _regression(answered: Sequence[Answered]) -> dict[str, Interval]:
    numbers = [(number_in(one.answer), float(one.question.label)) for one in answered]
    pairs = np.array([(said, label) for said, label in numbers if said is not None], dtype=np.float64)
    if not len(pairs):
        nothing = Interval(np.nan, np.nan, np.nan)
        return {"pearson": nothing, "mae": nothing}
    said, labels = pairs.T
    errors = np.abs(said - labels)
    return {
        "pearson": item_interval(lambda items: _pearson(said[items], labels[items]), len(pairs)),
        "mae": item_interval(lambda items: errors[items].mean(), len(pairs)),
    }


def _pearson(said: np.ndarray, labels: np.ndarray) -> float:
    if len(said) < 2:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (stats.ConstantInputWarning, stats.NearConstantInputWarning))
        return float(stats.pearsonr(said, labels).statistic)


def _wer(answered: Sequence[Answered]) -> dict[str, Interval]:
    import jiwer

    counts = []
    for one in answered:
        found = jiwer.process_words(words_of(one.question.label), words_of(one.answer))
        wrong = found.substitutions + found.deletions + found.insertions
        counts.append((wrong, found.hits + found.substitutions + found.deletions))
    wrong, words = np.array(counts, dtype=np.float64).T
    if not words.sum():
        raise UserError("a generation, but no label has a word in it: there is no word error rate")

    def rate(items: np.ndarray) -> float:
        return wrong[items].sum() / max(words[items].sum(), 1)

    return {"wer": item_interval(rate, len(words))}
