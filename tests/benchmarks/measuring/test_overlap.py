"""Experiments that measure the same methods in the same setting: each counts once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.experiments.plan import check_trained_alike, make_plan
from benchmarks.measuring.aggregate import pool
from benchmarks.measuring.overlap import join_twins, twin_notes
from benchmarks.measuring.scores import Scores
from perser.errors import UserError

from .test_pooling import SECOND, scores

FIRST = replace(scores({"a": 3}, 0), asked_digest="same")


def only(methods: str, one: Scores = FIRST, **changed: object) -> Scores:
    """With `better` renamed to each of these letters."""
    better = one.methods[1]
    return replace(one, methods=tuple(replace(better, method=method) for method in methods), **changed)


def test_what_is_new_joins_and_what_is_known_counts_once():
    later = only("yz")
    changed = replace(later, methods=tuple(replace(one, seconds_predict=9.0) for one in later.methods))
    (joined,) = join_twins([only("xy"), changed])
    assert [(one.method, one.seconds_predict) for one in joined.methods] == [
        ("x", 0.5),
        ("y", 0.5),
        ("z", 9.0),
    ]


def test_turns_stay_turns():
    assert join_twins([FIRST, SECOND]) == [FIRST, SECOND]
    assert twin_notes([FIRST, SECOND]) == []


def test_the_same_methods_on_other_queries_do_not_count():
    assert join_twins([only("xy"), only("y", asked_digest="other")]) == [only("xy")]


@pytest.mark.parametrize(
    "later",
    [
        only("z", asked_digest="other"),
        only("z", asked_digest=""),
        only("y", training_digest="other"),
        only("y", scores({"a": 3, "new": 2}, 0)),
    ],
    ids=["new method, other queries", "new method, unknown queries", "another training", "further persons"],
)
def test_what_cannot_stand_in_one_table_is_refused(later):
    with pytest.raises(UserError, match="tested in two turns"):
        join_twins([only("xy"), later])


def test_the_notes_say_which_figures_count():
    results = pool([only("xy"), only("yz")], "t")
    assert [row["method"] for row in results["rows"]] == ["x", "y", "z"]
    (note,) = results["meta"]["notes"]
    assert (
        note == "Measured by more than one experiment, the first listed counts (toy, seen, tiny, K = 4): y."
    )


def plan(out: str, *options: str):
    return make_plan(**read_experiment(QUICKSTART, f"--out={Path('runs') / out}", *options))


def test_models_trained_in_two_ways_are_not_put_in_one_table():
    usual = plan("usual")
    check_trained_alike([usual, plan("again"), plan("fewer", "--bench.methods=[random, entire-zero]")])
    other = plan("other", "--pretrain.epochs=3")
    with pytest.raises(
        UserError, match=r"runs/usual and runs/other train .*another pretrain: bench them apart"
    ):
        check_trained_alike([usual, other])
    with pytest.raises(UserError, match="another meta_train"):
        check_trained_alike([usual, plan("other", "--meta_train.inner.steps=3")])
    with pytest.raises(UserError, match="another icl_train"):
        check_trained_alike([usual, plan("other", "--icl_train.steps=3")])


def test_what_shares_no_table_may_differ():
    usual = plan("usual")
    apart = [
        plan("k", "--pretrain.epochs=3", "--draw.k=33"),
        plan("encoder", "--pretrain.epochs=3", "--encoder=tiny-wavlm"),
        plan("split", "--pretrain.epochs=3", "--draw.split.fold=1"),
        plan("methods", "--icl_train.steps=3", "--bench.methods=[entire-zero]"),
        plan("trivial", "--pretrain.epochs=3", "--bench.methods=[random]"),
    ]
    for other in apart:
        check_trained_alike([usual, other])
