"""The results of pooled folds are those of one run over the episodes of all folds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.measuring.aggregate import aggregate_costs, aggregate_results, single_or_distinct
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.statistics import EpisodeScores
from perser.errors import UserError

METRICS = ("maF1", "miF1", "label_accuracy", "balanced_accuracy")


def scores(persons: dict[str, int], fold: int, k: int = 4) -> Scores:
    """Two methods on `persons`, given with the number of their episodes."""
    rng = np.random.default_rng([fold, k])
    methods = []
    for method in ("random", "better"):
        drawn = tuple(
            EpisodeScores(person, f"{person}/{seed}", {name: rng.random() for name in METRICS})
            for person, count in persons.items()
            for seed in range(count)
        )
        route = "trivial" if method == "random" else "mine"
        adapts, counts = {"rate": fold, "steps": 50}, {"trained": 10, "moved": 2}
        tables = [[1.0, 0.0], [0.0, 2.0]], [[3.0, 1.5, 1.0]]
        methods.append(
            MethodScores(method, route, adapts, drawn, 1.0 + fold, 0.5, counts, 100 + fold, *tables)
        )
    meta = {
        "corpus_fingerprint": "abc",
        "emotions": ["angry", "sad"],
        "q": 8,
        "persons_left_out": {f"few-{fold}": 3},
        "training_persons": 9,
        "simulated": False,
        "notes": [],
        "versions": {"torch": "2"},
    }
    origin = {"commit": "abc"}
    return Scores("toy", "seen", "listener", k, "tiny", f"split-{fold}", meta, origin, tuple(methods))


FIRST, SECOND = scores({"a": 3}, 0), scores({"b": 1, "c": 2}, 1)


def test_pooled_folds_give_the_same_as_one_run_over_all_their_episodes():
    together = replace(
        FIRST,
        methods=tuple(
            replace(first, episodes=first.episodes + second.episodes)
            for first, second in zip(FIRST.methods, SECOND.methods, strict=True)
        ),
    )
    pooled, single = aggregate_results([FIRST, SECOND], "pooled"), aggregate_results([together], "single")
    assert pooled["differences"] == single["differences"]
    for row, expected in zip(pooled["rows"], single["rows"], strict=True):
        assert row["metrics"] == expected["metrics"]
        assert (row["persons"], row["episodes"]) == (3, 6)


def test_a_mean_is_over_persons_not_over_folds():
    rows = aggregate_results([FIRST, SECOND], "t")["rows"]
    (row,) = [row for row in rows if row["method"] == "better"]
    per_person = {}
    for fold in (FIRST, SECOND):
        for episode in fold.methods[1].episodes:
            per_person.setdefault(episode.person, []).append(episode.metrics["maF1"])
    naive = np.mean([np.mean(values) for values in per_person.values()])
    assert row["metrics"]["maF1"]["mean"] == pytest.approx(naive, abs=1e-12)


def test_the_tests_of_a_metric_in_a_setting_are_corrected_together(make_scores):
    """Compared with scipy's correction of the same p-values, tests against trivial rows apart.

    Where no test was made, there is no corrected value either.
    """
    results = aggregate_results(
        [make_scores(k=4), make_scores(k=32), make_scores(k=32, axis="speaker", people=5)], "t"
    )
    trivial = {row["method"] for row in results["rows"] if row["route"] == "trivial"}
    for k, metric, against_trivial in itertools.product((4, 32), METRICS, (True, False)):
        family = [
            pair
            for pair in results["differences"]
            if (pair["k"], pair["person_axis"], pair["metric"]) == (k, "listener", metric)
            and bool({pair["a"], pair["b"]} & trivial) == against_trivial
        ]
        assert len(family) == 21
        expected = stats.false_discovery_control([pair["wilcoxon_p"] for pair in family])
        assert [pair["wilcoxon_q"] for pair in family] == pytest.approx(expected.tolist(), abs=1e-15)
    few = [pair for pair in results["differences"] if pair["person_axis"] == "speaker"]
    assert {(pair["wilcoxon_p"], pair["wilcoxon_q"]) for pair in few} == {(None, None)}


def test_what_each_fold_chose_and_left_out_is_in_the_results():
    results = aggregate_results([FIRST, SECOND], "t")
    assert results["rows"][0]["adapts"] == {"rate": [0, 1], "steps": 50}
    assert results["rows"][0]["seconds_personalize"] == 1.5
    meta = results["meta"]
    assert (meta["title"], meta["folds"], meta["training_persons"]) == ("t", 2, 9)
    assert meta["persons_left_out"] == {"few-0": 3, "few-1": 3}


def test_differences_stay_within_one_k():
    results = aggregate_results([FIRST, scores({"a": 3}, 0, k=8)], "t")
    assert [(row["k"], row["method"]) for row in results["rows"]] == [
        (k, method) for k in (4, 8) for method in ("random", "better")
    ]
    pairs = [(pair["k"], pair["a"], pair["b"]) for pair in results["differences"] if pair["metric"] == "maF1"]
    assert pairs == [(4, "better", "random"), (8, "better", "random")]
    assert results["meta"]["folds"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(FIRST, training_digest="another"), "tested in two folds"),
        (replace(SECOND, methods=SECOND.methods[:1]), "the same methods"),
        (replace(SECOND, meta=SECOND.meta | {"q": 9}), "differ in q"),
    ],
)
def test_folds_that_do_not_go_together_are_refused(other, message):
    with pytest.raises(UserError, match=message):
        aggregate_results([FIRST, other], "t")


def test_costs_are_pooled_over_all_folds():
    rows = aggregate_costs([FIRST, SECOND])
    assert [(row["method"], row["k"]) for row in rows] == [("random", 4), ("better", 4)]
    for row in rows:
        assert (row["trained"], row["moved"]) == (10, 2)
        assert row["peak_bytes"] == 101, "the larger of the two"
        assert row["seconds_personalize"] == 1.5, "three episodes at 1 s and three at 2 s"


def test_unknown_memory_stays_unknown():
    unknown = replace(FIRST, methods=tuple(replace(method, peak_bytes=None) for method in FIRST.methods))
    assert [row["peak_bytes"] for row in aggregate_costs([unknown])] == [None, None]


def test_different_values_are_listed_once_each():
    assert single_or_distinct([2, 2]) == 2
    assert single_or_distinct([2, None, 2, {"a": 1}, {"a": 1}]) == [2, None, {"a": 1}]


def test_a_scores_file_round_trips(tmp_path):
    FIRST.save(tmp_path / "scores.json")
    assert Scores.load(tmp_path / "scores.json") == FIRST


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"format": "perser-scores-0"}'])
def test_another_file_than_scores_is_refused(content, tmp_path):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="no file of scores"):
        Scores.load(path)


def with_losses(losses: dict[str, float], noise: float = 0.02, people: int = 12) -> Scores:
    """Methods with these log losses; all persons and episodes differ by the same amounts in all methods."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.3, (people, 2))
    methods = []
    for name, loss in losses.items():
        values = loss + shared + rng.normal(0, noise, shared.shape)
        episodes = tuple(
            EpisodeScores(f"p{i:02}", f"p{i:02}/{j}", {"log_loss": float(value), "maF1": 0.3})
            for (i, j), value in np.ndenumerate(values)
        )
        route = "trivial" if name == "random" else "mine"
        methods.append(replace(FIRST.methods[0], method=name, route=route, episodes=episodes))
    return replace(FIRST, methods=tuple(methods))


def test_the_gain_is_over_entire_zero_and_its_share_is_of_the_oracle_s():
    found = aggregate_results(
        [with_losses({"random": 2.0, "entire-zero": 1.1, "learns": 1.0, "oracle": 0.9})], "t"
    )
    rows = {row["method"]: row["metrics"] for row in found["rows"]}
    for name, gain, share in (("learns", 0.1, 0.5), ("oracle", 0.2, 1.0), ("entire-zero", 0.0, 0.0)):
        assert rows[name]["gain"]["mean"] == pytest.approx(gain, abs=0.02)
        assert rows[name]["gain_share"]["mean"] == pytest.approx(share, abs=0.08)
    losses = {name: metrics["log_loss"]["mean"] for name, metrics in rows.items()}
    exact = (losses["entire-zero"] - losses["learns"]) / (losses["entire-zero"] - losses["oracle"])
    assert rows["learns"]["gain_share"]["mean"] == pytest.approx(exact, abs=1e-12)
    assert rows["learns"]["gain_share"]["low"] < exact < rows["learns"]["gain_share"]["high"]
    assert [pair["metric"] for pair in found["differences"]][:2] == ["log_loss", "maF1"]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({"entire-zero": 1.1, "learns": 1.0}, {"gain"}),
        ({"entire-zero": 1.1, "learns": 1.0, "oracle": 1.1}, {"gain"}),
        ({"learns": 1.0, "oracle": 0.9}, set()),
    ],
)
def test_there_is_no_share_of_nothing(losses, expected):
    """No oracle, an oracle that gains nothing that shows, no Entire-Zero."""
    for row in aggregate_results([with_losses(losses)], "t")["rows"]:
        assert {"gain", "gain_share"} & row["metrics"].keys() == expected


def test_scores_without_log_loss_are_still_put_together():
    found = aggregate_results([FIRST], "t")
    assert "log_loss" not in found["rows"][0]["metrics"]
    assert {pair["metric"] for pair in found["differences"]} == set(METRICS)


def trained_with(seed: int) -> list[Scores]:
    """The two folds with models of a training seed: the second seed measures the trained method only."""
    folds = []
    for fold in (FIRST, SECOND):
        methods = []
        for method in fold.methods if seed == 0 else fold.methods[1:]:
            episodes = tuple(
                replace(each, metrics={name: value + 0.1 * seed for name, value in each.metrics.items()})
                for each in method.episodes
            )
            methods.append(replace(method, episodes=episodes))
        folds.append(replace(fold, methods=tuple(methods), train_seed=seed))
    return folds


def test_a_row_is_the_mean_over_training_seeds_and_says_how_they_differ():
    (plain,) = (row for row in aggregate_results([FIRST, SECOND], "t")["rows"] if row["method"] == "better")
    results = aggregate_results([*trained_with(0), *trained_with(1), *trained_with(2)], "t")
    trivial, row = results["rows"]
    assert "over_seeds" not in trivial
    assert row["over_seeds"]["seeds"] == [0, 1, 2]
    assert (row["persons"], row["episodes"]) == (3, 6)
    for metric in METRICS:
        before, after = plain["metrics"][metric], row["metrics"][metric]
        for name in ("mean", "low", "high"):
            assert after[name] == pytest.approx(before[name] + 0.1), metric
        mean = before["mean"]
        assert row["over_seeds"]["means"][metric] == pytest.approx([mean, mean + 0.1, mean + 0.2])
        assert row["over_seeds"]["deviation"][metric] == pytest.approx(0.1)
    (first,) = (pair for pair in aggregate_results([FIRST, SECOND], "t")["differences"][:1])
    assert results["differences"][0]["mean"] == pytest.approx(first["mean"] + 0.1)
    assert results["meta"]["notes"] == []


def test_training_seeds_have_to_be_measured_on_the_same_episodes():
    fewer = [
        replace(fold, methods=tuple(replace(each, episodes=each.episodes[1:]) for each in fold.methods))
        for fold in trained_with(1)
    ]
    with pytest.raises(UserError, match="better was measured on other episodes with other training seeds"):
        aggregate_results([*trained_with(0), *fewer], "t")


def test_each_pair_of_methods_has_an_interval_that_holds_for_all_of_them():
    fold = scores({"a": 3, "b": 2, "c": 4}, 0)
    third = replace(
        fold.methods[1],
        method="third",
        episodes=scores({"a": 3, "b": 2, "c": 4}, 1).methods[1].episodes,
    )
    fourth = replace(third, method="fourth", episodes=scores({"a": 3, "b": 2, "c": 4}, 2).methods[1].episodes)
    for pair in aggregate_results([replace(fold, methods=(*fold.methods, third, fourth))], "t")[
        "differences"
    ]:
        if "random" in (pair["a"], pair["b"]):
            assert "adjusted" not in pair
        else:
            low, high = pair["adjusted"]
            assert low <= pair["low"] <= pair["mean"] <= pair["high"] <= high
            assert high - low > pair["high"] - pair["low"]
