"""How figures are printed: metrics and their intervals, differences, times, counts, memory."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.reporting.summary import Row, finite

DASH = "–"  # noqa: RUF001

METRICS = {
    "maF1": ("maF1", "macro-F1: F1 of each emotion, averaged over the emotions; an absent emotion counts 0"),
    "miF1": ("miF1", "micro-F1: F1 over all emotions of all utterances pooled"),
    "label_accuracy": (
        "UA",
        "label accuracy, as the Meta-PerSER paper uses the letters: the share of single yes/no decisions "
        "that are right. A method that names no emotion at all scores high on it: never read it alone",
    ),
    "balanced_accuracy": (
        "Bal. acc.",
        "balanced accuracy: the same decisions, given and not-given labels weighted alike; a guess has 50",
    ),
    "uar": ("UAR", "recall of the likeliest emotion, averaged over emotions (single-label corpora)"),
    "wa": ("WA", "accuracy of the likeliest emotion (single-label corpora)"),
    "brier": ("Brier ↓", "squared distance of the probabilities to the labels, 0 to 2; lower is better"),
    "ece": (
        "ECE ↓",
        "expected calibration error: stated confidence against how often it is right; lower is better",
    ),
}
"""Metric to its column's heading and what it means, in the order of the columns."""

LOWER_IS_BETTER = ("brier", "ece")


def heading(metric: str) -> str:
    """A metric's column."""
    return METRICS.get(metric, (metric, ""))[0]


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal, without the sign."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """A difference of fractions in signed percentage points."""
    return _signed(100 * fraction, 1)


def value_text(one: Mapping[str, float] | None, metric: str = "") -> str:
    """A metric's mean as it is printed: percent with one decimal; Brier as it is."""
    if one is None or not finite(one.get("mean")):
        return DASH
    return f"{one['mean']:.3f}" if metric == "brier" else percent(one["mean"])


def interval_text(one: Mapping[str, float] | None, metric: str = "") -> str:
    """A metric's interval in brackets, or nothing where there is none."""
    if one is None or not (finite(one.get("low")) and finite(one.get("high"))):
        return ""
    low, high = (value_text({"mean": one[bound]}, metric) for bound in ("low", "high"))
    return f"({low}{DASH}{high})"


def difference_text(one: Row) -> str:
    """A paired difference with its interval, in points."""
    if not finite(one.get("mean")):
        return DASH
    if one["metric"] == "brier":
        return f"{one['mean']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"
    return f"{points(one['mean'])} ({points(one['low'])} to {points(one['high'])})"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best."""
    if not finite(seconds):
        return DASH
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs" if seconds >= 1e-6 else "< 1 µs"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: float | None) -> str:
    """How many there are, with three figures."""
    return _scaled(count, ("", " k", " M", " G", " T"), 1000)


def memory(num_bytes: float | None) -> str:
    """Bytes in the unit that reads best."""
    return _scaled(num_bytes, (" B", " KiB", " MiB", " GiB", " TiB"), 1024)


def p_text(p: float | None) -> str:
    """A p-value with three decimals."""
    if not finite(p):
        return DASH
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def effect_text(effect: float | None) -> str:
    """An effect size, signed."""
    return _signed(effect, 2) if finite(effect) else DASH


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")  # noqa: RUF001


def _scaled(value: float | None, units: tuple[str, ...], base: int) -> str:
    if not finite(value):
        return DASH
    place = 0
    while value >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.3g}{units[place]}" if value < 100 else f"{value:.0f}{units[place]}"
