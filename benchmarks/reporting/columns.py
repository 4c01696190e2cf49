"""The columns of the tables that show a comparison's rows, defined once for all of these tables.

The table in the terminal, the Markdown and HTML reports and the LaTeX tables print the entries of COLUMNS, in
this order. To add a column, add an entry: `_metric(...)` for a metric, `Column(...)` for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.reporting.formats import DASH, decimals, duration, minus, percent, plain, points
from benchmarks.reporting.summary import Row, finite

Table = Literal["terminal", "markdown", "html", "latex", "summary"]

Better = Literal["higher", "lower"]

ALL_TABLES: frozenset[Table] = frozenset({"terminal", "markdown", "html", "latex", "summary"})

WITHOUT_TERMINAL = ALL_TABLES - {"terminal", "summary"}
"""For columns that would make the table wider than a terminal."""

NOT_MEASURED = "not measured"

REPORTS: frozenset[Table] = frozenset({"markdown", "html"})


@dataclass(frozen=True)
class Column:
    """One column of the tables."""

    key: str
    """The key in a row of results.json; for a metric, the key in its `metrics`."""
    heading: str
    text: Callable[[Row], str]
    """Formats a row's cell."""
    meaning: str = ""
    """What the report's glossary says of it; empty for nothing."""
    tables: frozenset[Table] = ALL_TABLES
    better: Better | None = None
    """Which values of a metric are better; None for what is no metric."""
    interval: Callable[[Row], str] | None = None
    """Formats the interval that stands beside the value of a metric."""
    in_percent: bool = True
    """Whether a metric is a fraction that is printed in percent."""
    signed: bool = False
    """Whether a metric is printed with its sign."""
    only_with: str = ""
    """A key of results.json that a row has to have for the column to be shown; empty where it always is."""


def _metric(
    key: str,
    heading: str,
    meaning: str,
    better: Better = "higher",
    tables: frozenset[Table] = WITHOUT_TERMINAL,
    in_percent: bool = True,
    signed: bool = False,
    missing: str = DASH,
) -> Column:
    """Return the column of a metric of results.json; `missing` stands in rows that lack it."""
    return Column(
        key,
        heading,
        lambda row: value_text(row["metrics"].get(key), key) if key in row["metrics"] else missing,
        meaning,
        tables,
        better,
        lambda row: interval_text(row["metrics"].get(key), key),
        in_percent,
        signed,
    )


COLUMNS = (
    Column("method", "Method", lambda row: row["method"]),
    # The HTML report shows the route, and what the method adapts, under the method's name.
    Column("route", "Route", lambda row: row["route"], tables=frozenset({"markdown"})),
    _metric(
        "log_loss",
        "Log loss ↓",
        "the figure by which methods are ranked, in nats an answer: minus the logarithm of the probability "
        "that a method gave to what the person heard. Several labels of one answer count as equal parts of "
        "it. Equal probabilities for C emotions have ln C. Lower is better",
        better="lower",
        tables=ALL_TABLES,
        in_percent=False,
        missing=NOT_MEASURED,
    ),
    _metric(
        "gain_share",
        "Gain share",
        "the gain over Entire-Zero as a share of what the oracle gains, which knows how each simulated "
        "listener hears: 0 is nothing, 100 is all there was to learn. Left out if the oracle's own gain may "
        "be none",
        tables=ALL_TABLES,
    ),
    _metric(
        "gain",
        "Gain",
        "how many nats its log loss is below that of Entire-Zero, which does not personalize. A method "
        "below 0 is worse than that",
        tables=ALL_TABLES,
        in_percent=False,
        signed=True,
    ),
    _metric(
        "auroc",
        "AUROC",
        "how well each emotion's probability tells the utterances with it from those without, whatever the "
        "threshold, averaged over the emotions; a guess has 50",
    ),
    _metric(
        "average_precision",
        "AP",
        "average precision: the area under the precision-recall curve, averaged over the emotions that occur",
    ),
    _metric(
        "maF1",
        "maF1",
        "macro-F1 at p > 1/C, as in the papers: the F1 of each emotion, averaged over the emotions; an "
        "absent emotion counts 0",
        tables=ALL_TABLES,
    ),
    _metric(
        "maF1_tuned",
        "maF1 tuned",
        "macro-F1 at thresholds of the method's own, one for each emotion, chosen on the validation persons",
    ),
    _metric(
        "miF1", "miF1", "micro-F1: the F1 over all emotions of all utterances together", tables=ALL_TABLES
    ),
    _metric(
        "label_accuracy",
        "UA",
        "label accuracy, which the Meta-PerSER paper calls UA: the share of single yes/no decisions that are "
        "right. A method that names no emotion at all scores high on it: do not judge by it alone",
    ),
    _metric(
        "balanced_accuracy",
        "Bal. acc.",
        "balanced accuracy: the same decisions, given and not-given labels weighted alike; a guess has 50",
    ),
    _metric(
        "uar", "UAR", "recall of the likeliest emotion, averaged over the emotions (single-label corpora)"
    ),
    _metric("wa", "WA", "accuracy of the likeliest emotion (single-label corpora)"),
    _metric(
        "brier",
        "Brier ↓",
        "squared distance between the probabilities and the labels, 0 to 2; lower is better",
        better="lower",
        in_percent=False,
    ),
    _metric(
        "ece",
        "ECE ↓",
        "expected calibration error over all episodes: how far the stated confidence is from how often it is "
        "right, without what chance adds; lower is better, and a little below 0 means that nothing was found",
        better="lower",
    ),
    Column(
        "over_seeds",
        "Over trainings",
        lambda row: seeds_text(row.get("over_seeds")),
        "standard deviation of the log loss over models trained with several seeds, and how many there are; "
        "all other figures are means over them. The intervals are about other people, not other trainings",
        only_with="over_seeds",
    ),
    Column(
        "seconds_personalize",
        "To personalize",
        lambda row: duration(row.get("seconds_personalize")),
        "how long it takes to personalize to one person's support",
    ),
    Column(
        "seconds_predict",
        "Per utterance",
        lambda row: duration(row.get("seconds_predict")),
        "how long it takes to predict one utterance after that",
        REPORTS,
    ),
    Column("persons", "Persons", lambda row: str(row.get("persons", DASH)), tables=REPORTS),
    Column("episodes", "Episodes", lambda row: str(row.get("episodes", DASH)), tables=REPORTS),
    Column(
        "adapts",
        "Adapts",
        lambda row: plain(row["adapts"]) if row.get("adapts") else DASH,
        tables=frozenset({"markdown"}),
    ),
)

WAYS_TO_DIFFER = {
    "bias": "how readily a listener says each emotion",
    "reliability": "how closely a listener follows the others (a temperature)",
    "construal": "how readily a listener says neutral (without such an emotion: the one that is given most) "
    "where the others hear something else",
    "confusion": "what a listener says where the others hear each emotion: a matrix with a hierarchical "
    "prior",
}
"""What the parts mean that are a listener's own in the tables of `benchmarks.ceiling`."""

METRICS = {column.key: column for column in COLUMNS if column.better}
"""The columns of the metrics, by key."""


def columns_in(table: Table, rows: Sequence[Row]) -> list[Column]:
    """Return the columns of a table that shows these rows.

    A metric that no row has is left out. A metric without an entry in COLUMNS comes after the other metrics,
    under its own name.
    """
    present = {name for row in rows for name in row["metrics"]}
    metrics = [place for place, column in enumerate(COLUMNS) if column.better]
    known = {COLUMNS[place].key for place in metrics}
    others = [_metric(name, name, "") for name in sorted(present - known)]
    columns = [*COLUMNS[: metrics[-1] + 1], *others, *COLUMNS[metrics[-1] + 1 :]]
    return [
        column
        for column in columns
        if table in column.tables
        and (not column.better or column.key in present)
        and (not column.only_with or any(column.only_with in row for row in rows))
    ]


def glossary(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the heading and meaning of the columns that a report of these rows shows."""
    return [(column.heading, column.meaning) for column in columns_in("markdown", rows) if column.meaning]


def heading(metric: str) -> str:
    """Return the heading of a metric's column."""
    return METRICS[metric].heading if metric in METRICS else metric


def value_text(value: Mapping[str, float] | None, metric: str = "") -> str:
    """Format a metric's mean: in percent with one decimal, or as it is with three."""
    if value is None or not finite(value.get("mean")):
        return DASH
    if _in_percent(metric):
        return percent(value["mean"])
    return decimals(value["mean"]) if METRICS[metric].signed else f"{value['mean']:.3f}"


def interval_text(value: Mapping[str, float] | None, metric: str = "") -> str:
    """Format a metric's interval in brackets; empty where there is none."""
    if value is None or not (finite(value.get("low")) and finite(value.get("high"))):
        return ""
    low, high = (value_text({"mean": value[bound]}, metric) for bound in ("low", "high"))
    signs = minus("+-")  # beside one of these, a dash reads like a minus
    return f"({low}{' to ' if low[0] in signs or high[0] in signs else DASH}{high})"


def seeds_text(over_seeds: Mapping[str, Any] | None) -> str:
    """Format the spread of the log loss over training seeds; of macro-F1 where log loss was not measured."""
    if not over_seeds:
        return DASH
    deviation = over_seeds["deviation"]
    metric = "log_loss" if "log_loss" in deviation else "maF1"
    return f"{value_text({'mean': deviation[metric]}, metric)} ({len(over_seeds['seeds'])} seeds)"


def difference_text(difference: Row) -> str:
    """Format a paired difference with its interval: in percentage points, or as it is."""
    if not finite(difference.get("mean")):
        return DASH
    if _in_percent(difference["metric"]):
        mean, low, high = (points(difference[name]) for name in ("mean", "low", "high"))
    else:
        mean, low, high = (decimals(difference[name]) for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _in_percent(metric: str) -> bool:
    return METRICS[metric].in_percent if metric in METRICS else True
