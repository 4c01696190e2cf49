"""The reliability plot shows confidence against accuracy, by bins."""

import numpy as np
import pytest

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.canvas import LIGHT
from benchmarks.reporting.reliability_plot import reliability, reliability_points
from perser.metrics import confidence_bins, expected_calibration_error


def test_the_distances_to_the_diagonal_are_the_calibration_error():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    labels = np.eye(4, dtype=int)[rng.integers(4, size=200)]
    confidence, right, share = reliability_points(confidence_bins(probabilities, labels).tolist()).T
    assert share.sum() == pytest.approx(1)
    error = expected_calibration_error(probabilities, labels)
    assert (share * np.abs(confidence - right)).sum() == pytest.approx(error, abs=1e-12)


def test_an_empty_bin_has_no_point():
    assert reliability_points([[0, 0, 0], [4, 3, 1]]).tolist() == [[0.75, 0.25, 1.0]]


def test_the_best_of_each_route_and_entire_zero_are_drawn(make_scores):
    rows = aggregate_results([make_scores()], "t")["rows"]
    (axes,) = reliability(rows).draw(LIGHT).axes
    labels = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert sorted(labels) == ["entire-zero", "meta-perser", "speech-lm-8"]
    assert reliability([{**row, "reliability": []} for row in rows]) is None
