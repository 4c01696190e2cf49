"""Format figures as text: percentages, differences, times, counts, memory, p-values.

How a metric is printed is said with its column, in `benchmarks.reporting.columns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.reporting.summary import finite

DASH = "–"  # noqa: RUF001


def percent(fraction: float) -> str:
    """Format a fraction as percent with one decimal, without the percent sign."""
    return minus(f"{100 * fraction:.1f}")


def points(fraction: float) -> str:
    """Format a difference of fractions as signed percentage points."""
    return _signed(100 * fraction, 1)


def capitalized(text: str) -> str:
    """Return the text with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Return the text with a capital first letter and a full stop at its end."""
    return capitalized(text) if text.endswith(".") else f"{capitalized(text)}."


def listed(names: Sequence[str]) -> str:
    """Join names with commas, and the last with "and"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def decimals(value: float) -> str:
    """Format a difference as signed, with three decimals."""
    return _signed(value, 3)


def duration(seconds: float | None) -> str:
    """Format seconds in the unit that reads best."""
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
    """Format a count with three figures."""
    return _scaled(count, ("", " k", " M", " G", " T"), 1000)


def memory(num_bytes: float | None) -> str:
    """Format bytes in the unit that reads best."""
    return _scaled(num_bytes, (" B", " KiB", " MiB", " GiB", " TiB"), 1024)


def p_text(p: float | None) -> str:
    """Format a p-value with three decimals."""
    if not finite(p):
        return DASH
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def effect_text(effect: float | None) -> str:
    """Format an effect size with its sign."""
    return _signed(effect, 2) if finite(effect) else DASH


def nats_of(gain: float) -> str:
    """Format a gain of log loss with its sign."""
    return _signed(gain, 3)


def nats(gain: Mapping[str, float]) -> str:
    """Format a gain of log loss with its interval."""
    return f"{nats_of(gain['mean'])} ({nats_of(gain['low'])} to {nats_of(gain['high'])})"


def plain(value: Any) -> str:
    """Format a value of JSON in words; mappings and lists are on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    return "none" if value is None else str(value)


def minus(numbers: str) -> str:
    """Return formatted numbers with minus signs: in a range, a hyphen reads like a dash."""
    return numbers.replace("-", "−")  # noqa: RUF001


def _signed(value: float, decimals: int) -> str:
    return minus(f"{value:+.{decimals}f}")


def _scaled(value: float | None, units: tuple[str, ...], base: int) -> str:
    if not finite(value):
        return DASH
    place = 0
    while value >= base and place < len(units) - 1:
        value, place = value / base, place + 1
    return f"{value:.3g}{units[place]}" if value < 100 else f"{value:.0f}{units[place]}"
