"""Pooled figures are those of one run over the episodes of all turns."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.measuring.aggregate import pool
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.statistics import EpisodeScores
from perser.errors import UserError

METRICS = ("maF1", "miF1", "label_accuracy", "balanced_accuracy")


def scores(persons: dict[str, int], turn: int, k: int = 4) -> Scores:
    """Two methods on `persons`, who have so many episodes each."""
    rng = np.random.default_rng([turn, k])
    methods = []
    for method in ("random", "better"):
        drawn = tuple(
            EpisodeScores(person, f"{person}/{seed}", {name: rng.random() for name in METRICS})
            for person, count in persons.items()
            for seed in range(count)
        )
        route = "trivial" if method == "random" else "mine"
        adapts, counts = {"rate": turn, "steps": 50}, {"trained": 10, "moved": 2}
        tables = [[1.0, 0.0], [0.0, 2.0]], [[3.0, 1.5, 1.0]]
        methods.append(
            MethodScores(method, route, adapts, drawn, 1.0 + turn, 0.5, counts, 100 + turn, *tables)
        )
    meta = {
        "corpus_fingerprint": "abc",
        "emotions": ["angry", "sad"],
        "q": 8,
        "persons_left_out": {f"few-{turn}": 3},
        "training_persons": 9,
        "simulated": False,
        "notes": [],
        "versions": {"torch": "2"},
    }
    origin = {"commit": "abc"}
    return Scores("toy", "seen", "listener", k, "tiny", f"split-{turn}", meta, origin, tuple(methods))


FIRST, SECOND = scores({"a": 3}, 0), scores({"b": 1, "c": 2}, 1)


def test_pooled_turns_are_one_run_over_all_their_episodes():
    together = replace(
        FIRST,
        methods=tuple(
            replace(one, episodes=one.episodes + other.episodes)
            for one, other in zip(FIRST.methods, SECOND.methods, strict=True)
        ),
    )
    pooled, whole = pool([FIRST, SECOND], "pooled"), pool([together], "whole")
    assert pooled["differences"] == whole["differences"]
    for row, expected in zip(pooled["rows"], whole["rows"], strict=True):
        assert row["metrics"] == expected["metrics"]
        assert (row["persons"], row["episodes"]) == (3, 6)


def test_a_mean_is_over_persons_not_over_turns():
    (row,) = [row for row in pool([FIRST, SECOND], "t")["rows"] if row["method"] == "better"]
    per_person = {}
    for turn in (FIRST, SECOND):
        for one in turn.methods[1].episodes:
            per_person.setdefault(one.person, []).append(one.metrics["maF1"])
    naive = np.mean([np.mean(values) for values in per_person.values()])
    assert row["metrics"]["maF1"]["mean"] == pytest.approx(naive, abs=1e-12)


def test_the_tests_of_a_metric_in_a_setting_are_corrected_together(make_scores):
    """As scipy does it, from the p-values that stand beside them, those against trivial rows apart; no test,
    no q."""
    results = pool([make_scores(k=4), make_scores(k=32), make_scores(k=32, axis="speaker", people=5)], "t")
    trivial = {row["method"] for row in results["rows"] if row["route"] == "trivial"}
    for k, metric, beside in itertools.product((4, 32), METRICS, (True, False)):
        one = [
            each
            for each in results["differences"]
            if (each["k"], each["person_axis"], each["metric"]) == (k, "listener", metric)
            and bool({each["a"], each["b"]} & trivial) == beside
        ]
        assert len(one) == 21
        expected = stats.false_discovery_control([each["wilcoxon_p"] for each in one])
        assert [each["wilcoxon_q"] for each in one] == pytest.approx(expected.tolist(), abs=1e-15)
    few = [one for one in results["differences"] if one["person_axis"] == "speaker"]
    assert {(one["wilcoxon_p"], one["wilcoxon_q"]) for one in few} == {(None, None)}


def test_what_each_turn_chose_and_left_out_is_kept():
    results = pool([FIRST, SECOND], "t")
    assert results["rows"][0]["adapts"] == {"rate": [0, 1], "steps": 50}
    assert results["rows"][0]["seconds_personalize"] == 1.5
    meta = results["meta"]
    assert (meta["title"], meta["turns"], meta["training_persons"]) == ("t", 2, 9)
    assert meta["persons_left_out"] == {"few-0": 3, "few-1": 3}


def test_differences_stay_within_one_k():
    results = pool([FIRST, scores({"a": 3}, 0, k=8)], "t")
    assert [(row["k"], row["method"]) for row in results["rows"]] == [
        (k, method) for k in (4, 8) for method in ("random", "better")
    ]
    assert [(one["k"], one["a"], one["b"]) for one in results["differences"] if one["metric"] == "maF1"] == [
        (4, "better", "random"),
        (8, "better", "random"),
    ]
    assert results["meta"]["turns"] == 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(FIRST, training_digest="another"), "tested in two turns"),
        (replace(SECOND, methods=SECOND.methods[:1]), "the same methods"),
        (replace(SECOND, meta=SECOND.meta | {"q": 9}), "another q"),
    ],
)
def test_turns_that_do_not_go_together_are_refused(other, said):
    with pytest.raises(UserError, match=said):
        pool([FIRST, other], "t")


def test_the_file_round_trips(tmp_path):
    FIRST.save(tmp_path / "scores.json")
    assert Scores.load(tmp_path / "scores.json") == FIRST


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"format": "perser-scores-0"}'])
def test_a_file_that_is_none_is_refused(content, tmp_path):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="no file of scores"):
        Scores.load(path)
