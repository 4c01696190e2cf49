import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.measuring import statistics
from benchmarks.measuring.statistics import (
    EpisodeScores,
    adjust_p_values,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_item_interval,
    by_episode,
    by_person,
    paired_difference,
    rank_biserial,
)

score = st.floats(0, 1, width=32)
persons = st.dictionaries(st.text("abc", min_size=1), st.lists(score, min_size=1, max_size=5), min_size=1)


def scores_by_key(values):
    """(persons, episodes) array to (person, episode) keys."""
    return {(f"p{i:02}", f"e{j}"): float(value) for (i, j), value in np.ndenumerate(values)}


def naive_interval(scores_by_person, resamples, rng):
    means, names = [], list(scores_by_person)
    for _ in range(resamples):
        drawn = [scores_by_person[name] for name in rng.choice(names, size=len(names))]
        means.append(np.mean([np.mean(rng.choice(values, size=len(values))) for values in drawn]))
    return np.quantile(means, [0.025, 0.975])


@settings(deadline=None, max_examples=50)
@given(persons)
def test_the_mean_is_of_persons_and_the_interval_lies_among_the_scores(scores_by_person):
    found = bootstrap_interval(scores_by_person, resamples=100)
    assert found.mean == pytest.approx(np.mean([np.mean(values) for values in scores_by_person.values()]))
    everything = np.concatenate(list(scores_by_person.values()))
    assert everything.min() - 1e-9 <= found.low <= found.high <= everything.max() + 1e-9


def test_the_interval_matches_a_plain_loop():
    rng = np.random.default_rng(0)
    ragged = {f"p{i}": rng.normal(i % 3, 1, size=rng.integers(1, 9)) for i in range(8)}
    found = bootstrap_interval(ragged, resamples=4000)
    assert [found.low, found.high] == pytest.approx(naive_interval(ragged, 4000, rng), abs=0.08)


def test_with_one_episode_per_person_the_interval_matches_scipys_bootstrap():
    values = np.random.default_rng(0).normal(size=30)
    found = bootstrap_interval({f"p{i:02}": [value] for i, value in enumerate(values)}, resamples=8000)
    oracle = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.04)


def test_the_interval_covers_the_truth_about_as_often_as_its_level():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        scores = rng.normal(size=(25, 1)) + rng.normal(size=(25, 5))
        found = bootstrap_interval({str(i): row for i, row in enumerate(scores)}, seed=trial, resamples=400)
        hits += found.low <= 0 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_in_any_order_of_persons():
    scores = {f"p{i}": [i / 10, i / 7] for i in range(6)}
    assert bootstrap_interval(scores, seed=3) == bootstrap_interval(dict(reversed(scores.items())), seed=3)
    assert bootstrap_interval(scores, seed=3) != bootstrap_interval(scores, seed=4)


def test_many_persons_are_resampled_in_parts(monkeypatch):
    scores = {f"p{i}": [i / 40, i / 50] for i in range(40)}
    whole = bootstrap_interval(scores)
    monkeypatch.setattr(statistics, "_CELLS_AT_ONCE", 1000)
    statistics._resampling_weights.cache_clear()
    parts = bootstrap_interval(scores)
    statistics._resampling_weights.cache_clear()
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_equal_scores_and_a_single_person_have_an_interval():
    equal = bootstrap_interval({"a": [0.5, 0.5], "b": [0.5]})
    assert (equal.mean, equal.low, equal.high) == (0.5, 0.5, 0.5)
    alone = bootstrap_interval({"a": [0.2, 0.4, 0.6]})
    assert 0.2 <= alone.low < 0.4 < alone.high <= 0.6


@pytest.mark.parametrize("scores", [{}, {"a": []}, {"a": [0.1, float("nan")]}])
def test_missing_or_nan_scores_are_refused(scores):
    with pytest.raises(ValueError, match="at least one score"):
        bootstrap_interval(scores)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 1000))
def test_the_paired_difference_is_the_difference_of_the_means(num_persons, num_episodes, seed):
    a, b = np.random.default_rng(seed).random((2, num_persons, num_episodes))
    found = paired_difference(scores_by_key(a), scores_by_key(b), resamples=50)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.persons == num_persons
    assert -1 <= found.effect <= 1
    swapped = paired_difference(scores_by_key(b), scores_by_key(a), resamples=50)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert swapped.effect == pytest.approx(-found.effect)


def test_pairing_removes_what_episodes_have_in_common():
    rng = np.random.default_rng(0)
    b = rng.normal(size=(10, 8))
    a = b + 0.1
    found = paired_difference(scores_by_key(a), scores_by_key(b))
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    assert found.effect == 1
    assert found.wilcoxon_p == pytest.approx(2 / 2**10)  # the smallest that ten persons can give


def test_the_wilcoxon_test_matches_scipys_over_persons():
    a, b = np.random.default_rng(2).random((2, 15, 3))
    found = paired_difference(scores_by_key(a), scores_by_key(b))
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(a.mean(axis=1), b.mean(axis=1)).pvalue)


def test_too_few_persons_have_no_p_value_and_equal_methods_no_difference():
    a = np.random.default_rng(0).random((5, 2))
    assert paired_difference(scores_by_key(a), scores_by_key(a / 2)).wilcoxon_p is None
    same = np.random.default_rng(0).random((8, 2))
    found = paired_difference(scores_by_key(same), scores_by_key(same))
    assert (found.mean, found.low, found.high, found.wilcoxon_p, found.effect) == (0, 0, 0, 1, 0)


def test_methods_on_different_episodes_are_not_compared():
    a = {("p", "e1"): 0.1, ("p", "e2"): 0.2}
    with pytest.raises(ValueError, match=r"not the same episodes: 2 are in one only, such as \('p', 'e2'\)"):
        paired_difference(a, {("p", "e1"): 0.1, ("p", "e3"): 0.2})


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_rank_biserial_matches_kerbys_formula(values):
    """Kerby's simple difference formula, with Walsh averages in place of ranks."""
    nonzero = [value for value in values if value]
    walsh = [nonzero[i] + nonzero[j] for i in range(len(nonzero)) for j in range(i + 1)]
    total = len(nonzero) * (len(nonzero) + 1) / 2
    expected = sum(np.sign(walsh)) / total if nonzero else 0
    assert rank_biserial(np.array(values)) == pytest.approx(expected)


def test_scores_are_grouped_by_person_and_by_episode():
    scores = [
        EpisodeScores("a", "e1", {"maF1": 0.1, "uar": 0.5}),
        EpisodeScores("a", "e2", {"maF1": 0.3}),
        EpisodeScores("b", "e1", {"maF1": 0.6}),
    ]
    assert by_person(scores, "maF1") == {"a": [0.1, 0.3], "b": [0.6]}
    assert by_episode(scores, "maF1") == {("a", "e1"): 0.1, ("a", "e2"): 0.3, ("b", "e1"): 0.6}
    found = bootstrap_intervals(scores)
    assert found.keys() == {"maF1"}
    assert found["maF1"].mean == pytest.approx(0.4)
    with pytest.raises(ValueError, match="twice"):
        by_episode([*scores, scores[0]], "maF1")


def test_the_interval_over_items_matches_scipys_bootstrap_for_any_statistic():
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=80)
    found = bootstrap_item_interval(lambda items: np.median(values[items]), len(values), resamples=4000)
    expected = stats.bootstrap((values,), np.median, method="percentile", rng=1).confidence_interval
    assert found.mean == np.median(values)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.06)


def test_resamples_without_a_value_are_left_out():
    found = bootstrap_item_interval(lambda items: 1.0 if (items == 0).any() else np.nan, 3)
    assert (found.mean, found.low, found.high) == (1, 1, 1)
    no_value = bootstrap_item_interval(lambda items: np.nan, 3, resamples=5)
    assert np.isnan([no_value.mean, no_value.low, no_value.high]).all()


def naive_benjamini_hochberg(p_values):
    """The smallest share q at which the step-up procedure still rejects, for each test."""
    ranked = sorted(p_values)
    return [
        min(min(1.0, other * len(ranked) / (rank + 1)) for rank, other in enumerate(ranked) if other >= p)
        for p in p_values
    ]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.none(), st.floats(1e-9, 1)), max_size=12))
def test_the_correction_matches_the_step_up_procedure_and_skips_missing_tests(p_values):
    found = adjust_p_values(p_values)
    assert [p is None for p in found] == [p is None for p in p_values]
    tested = [p for p in p_values if p is not None]
    assert [p for p in found if p is not None] == pytest.approx(naive_benjamini_hochberg(tested))


def test_more_tests_make_each_of_them_less_certain():
    assert adjust_p_values([0.01]) == [0.01]
    assert adjust_p_values([0.01, 0.5, 0.6, 0.9])[0] == pytest.approx(0.04)
