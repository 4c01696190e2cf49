"""The confusion plot shows the counts of the best method as shares of each row."""

import numpy as np

from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.reporting.canvas import LIGHT
from benchmarks.reporting.confusion_plot import confusion, row_shares


def test_rows_are_shares_and_an_emotion_that_nobody_heard_is_zero():
    assert row_shares([[3, 1], [0, 0]]).tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_the_best_methods_counts_are_drawn(make_scores):
    rows = aggregate_results([make_scores()], "t")["rows"]
    rows[0]["metrics"]["maF1"]["mean"] = 1.0  # a trivial row is never shown
    plot = confusion(rows)
    assert plot.title.startswith("meta-perser:")
    (axes,) = plot.draw(LIGHT).axes
    (best,) = [row for row in rows if row["method"] == "meta-perser"]
    counts = np.array(best["confusion"])
    expected = [f"{100 * share:.0f}" for share in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    assert [text.get_text() for text in axes.texts] == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == best["emotions"]
    assert confusion([{**row, "confusion": []} for row in rows]) is None
