"""How figures are printed."""

import pytest

from benchmarks.reporting.formats import DASH, duration, effect_text, memory, p_text, points, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH),
        (float("nan"), DASH),
        (0.0, "< 1 µs"),
        (2e-5, "20 µs"),
        (0.25, "250 ms"),
        (2.5, "2.5 s"),
        (600, "10 min"),
        (9000, "2.5 h"),
    ],
)
def test_durations_have_a_fitting_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, DASH),
        (0, "0"),
        (6, "6"),
        (999, "999"),
        (5_000, "5 k"),
        (21_300_000, "21.3 M"),
        (2.5e13, "25 T"),
    ],
)
def test_counts_have_three_figures(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(None, DASH), (512, "512 B"), (1536, "1.5 KiB"), (3 * 2**30, "3 GiB")]
)
def test_memory_has_a_fitting_unit(num_bytes, text):
    assert memory(num_bytes) == text


def test_minus_signs_are_typographic_and_small_p_values_are_not_zero():
    assert (points(-0.012), effect_text(-0.5), effect_text(None)) == ("−1.2", "−0.50", DASH)  # noqa: RUF001
    assert (p_text(0.0004), p_text(0.04), p_text(None)) == ("< 0.001", "0.040", DASH)
