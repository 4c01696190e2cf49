from __future__ import annotations

from dataclasses import replace

from benchmarks.measuring.aggregate import costs

from .test_pooling import FIRST, SECOND


def test_a_row_has_a_methods_costs_over_all_turns():
    rows = costs([FIRST, SECOND])
    assert [(row["method"], row["k"]) for row in rows] == [("random", 4), ("better", 4)]
    for row in rows:
        assert (row["trained"], row["moved"]) == (10, 2)
        assert row["peak_bytes"] == 101, "the larger of the two"
        assert row["seconds_personalize"] == 1.5, "three episodes at 1 s and three at 2 s"


def test_memory_that_nobody_knows_stays_unsaid():
    unknown = replace(FIRST, methods=tuple(replace(one, peak_bytes=None) for one in FIRST.methods))
    assert [row["peak_bytes"] for row in costs([unknown])] == [None, None]
