"""A method that several experiments measured in the same setting counts once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.experiments.plan import check_trained_alike, make_plan
from benchmarks.measuring.aggregate import aggregate_results
from benchmarks.measuring.overlap import merge_overlapping, overlap_notes
from benchmarks.measuring.scores import Scores
from perser.errors import UserError

from .test_aggregate import SECOND, scores

FIRST = replace(scores({"a": 3}, 0), asked_digest="same")


def only(methods: str, original: Scores = FIRST, **changed: object) -> Scores:
    """The scores of `better` under each of these letters as a method's name."""
    better = original.methods[1]
    return replace(original, methods=tuple(replace(better, method=method) for method in methods), **changed)


def test_new_methods_are_added_and_known_ones_count_once():
    later = only("yz")
    changed = replace(later, methods=tuple(replace(method, seconds_predict=9.0) for method in later.methods))
    (joined,) = merge_overlapping([only("xy"), changed])
    assert [(method.method, method.seconds_predict) for method in joined.methods] == [
        ("x", 0.5),
        ("y", 0.5),
        ("z", 9.0),
    ]


def test_folds_of_other_persons_are_not_merged():
    assert merge_overlapping([FIRST, SECOND]) == [FIRST, SECOND]
    assert overlap_notes([FIRST, SECOND]) == []


def test_known_methods_on_other_queries_are_ignored():
    assert merge_overlapping([only("xy"), only("y", asked_digest="other")]) == [only("xy")]


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
def test_scores_that_cannot_share_a_table_are_refused(later):
    with pytest.raises(UserError, match="tested in two folds"):
        merge_overlapping([only("xy"), later])


def test_the_notes_say_which_figures_count():
    results = aggregate_results([only("xy"), only("yz")], "t")
    assert [row["method"] for row in results["rows"]] == ["x", "y", "z"]
    (note,) = results["meta"]["notes"]
    assert (
        note == "Measured by more than one experiment, the first listed counts (toy, seen, tiny, K = 4): y."
    )


def plan(out: str, *options: str):
    return make_plan(**read_experiment(QUICKSTART, f"--out={Path('runs') / out}", *options))


def test_models_trained_in_two_ways_cannot_share_a_table():
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


def test_experiments_without_a_common_table_may_be_trained_in_different_ways():
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
