import numpy as np

from benchmarks.measuring.aggregate import pool
from benchmarks.reporting.canvas import LIGHT
from benchmarks.reporting.confusion_plot import confusion, shares_of


def test_rows_are_shares_and_what_nobody_heard_is_zero():
    assert shares_of([[3, 1], [0, 0]]).tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_the_best_methods_counts_are_drawn(make_scores):
    rows = pool([make_scores()], "t")["rows"]
    rows[0]["metrics"]["maF1"]["mean"] = 1.0  # a trivial row is not what is asked about
    plot = confusion(rows)
    assert plot.title.startswith("meta-perser:")
    (axes,) = plot.draw(LIGHT).axes
    (best,) = [row for row in rows if row["method"] == "meta-perser"]
    counts = np.array(best["confusion"])
    expected = [f"{100 * share:.0f}" for share in (counts / counts.sum(axis=1, keepdims=True)).ravel()]
    assert [text.get_text() for text in axes.texts] == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == best["emotions"]
    assert confusion([{**row, "confusion": []} for row in rows]) is None
