"""Rows of results.json with a few persons, for the tests of who gains."""

from __future__ import annotations

from benchmarks.reporting.comparisons import make_comparisons


def row(method, losses, route="mine", metric="log_loss"):
    people = {f"p{place}": {metric: loss} for place, loss in enumerate(losses)}
    mean = sum(losses) / len(losses)
    return {
        "method": method,
        "route": route,
        "corpus": "toy",
        "scenario": "unseen",
        "person_axis": "listener",
        "k": 8,
        "persons": len(people),
        "metrics": {metric: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}},
        "by_person": people,
    }


def comparison(rows, differences=()):
    (found,) = make_comparisons({"rows": rows, "differences": list(differences)})
    return found


def pair(a, b, mean, half, metric="log_loss"):
    bounds = {"mean": mean, "low": mean - half, "high": mean + half}
    return {"a": a, "b": b, "metric": metric, "k": 8} | bounds


ZERO = row("entire-zero", [1.0, 1.2, 1.4, 1.6], "meta-perser")
LEARNS = row("learns", [0.9, 1.0, 1.5, 1.2])
