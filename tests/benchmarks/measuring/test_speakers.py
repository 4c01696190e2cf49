"""Intervals allow for speakers whom all persons heard: persons and speakers are resampled (Owen 2007)."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measuring.speakers import speaker_contributions
from benchmarks.measuring.statistics import (
    EpisodeScores,
    bootstrap_intervals,
    metric_difference,
    scored,
)
from perser.metrics import score_episode, signed_gaps

EXACT = ("log_loss", "auroc", "average_precision", "label_accuracy", "uar", "wa", "brier", "ece")


def episode(rng, queries=600, speakers=5, multi_label=False):
    """Draw probabilities, rounded so that some are equal, that say something of the labels."""
    labels = np.eye(4, dtype=int)[rng.integers(4, size=queries)]
    if multi_label:
        labels |= rng.random(labels.shape) < 0.3
    probabilities = np.round(rng.dirichlet(np.ones(4), size=queries) + 0.3 * labels, 2) + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), labels, rng.integers(speakers, size=queries)


def scores(probabilities, labels, gaps):
    return score_episode(probabilities, labels) | {"ece": gaps.mean()}


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_contribution_is_what_a_few_more_utterances_of_the_speaker_change(multi_label):
    """Compared with an episode that repeats one of the speaker's utterances in twenty."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        probabilities, labels, speakers = episode(rng, multi_label=multi_label)
        gaps = signed_gaps(probabilities, labels, np.arange(len(labels)))
        found = speaker_contributions(probabilities, labels, [f"s{name}" for name in speakers], gaps)
        before = scores(probabilities, labels, gaps)
        assert found.keys() == before.keys()
        for name in range(5):
            repeated = np.tile(np.arange(len(labels)), 20)
            repeated = np.r_[repeated, np.flatnonzero(speakers == name)]
            after = scores(probabilities[repeated], labels[repeated], gaps[repeated])
            for metric in before:
                slope = 20 * (after[metric] - before[metric])
                assert found[metric][f"s{name}"] == pytest.approx(slope, abs=2e-3), (seed, metric)


def test_the_contributions_of_all_speakers_add_up_to_nothing_where_they_are_exact():
    probabilities, labels, speakers = episode(np.random.default_rng(1), 60)
    gaps = signed_gaps(probabilities, labels, np.arange(60))
    found = speaker_contributions(probabilities, labels, [f"s{name}" for name in speakers], gaps)
    for metric in EXACT:
        assert sum(found[metric].values()) == pytest.approx(0, abs=1e-6), metric


def test_a_speaker_who_said_everything_contributes_nothing():
    probabilities, labels, _ = episode(np.random.default_rng(0), 20)
    gaps = signed_gaps(probabilities, labels, np.arange(20))
    found = speaker_contributions(probabilities, labels, ["alone"] * 20, gaps)
    assert found == {metric: {"alone": 0.0} for metric in found}
    assert found.keys() == score_episode(probabilities, labels).keys()


def test_the_intervals_of_metrics_that_are_no_means_are_near_those_of_whole_resamples():
    """The loop draws persons and speakers, and computes the metrics anew from the rows that were drawn."""
    metrics = ("auroc", "average_precision", "brier", "maF1")
    rng = np.random.default_rng(5)
    persons, speakers = 10, 12
    hard = rng.normal(0, 0.25, speakers)  # some speakers are easier to hear
    data, drawn = [], []
    for person in range(persons):
        who = np.tile(np.arange(speakers), 6)
        labels = np.eye(3, dtype=int)[rng.integers(3, size=len(who))]
        signal = np.exp((1 + hard[who, None]) * labels + rng.normal(0, 0.5, labels.shape))
        probabilities = (signal / signal.sum(axis=1, keepdims=True)).astype(np.float32)
        names, gaps = [f"s{speaker:02}" for speaker in who], signed_gaps(probabilities, labels, np.arange(72))
        slopes = speaker_contributions(probabilities, labels, names, gaps)
        drawn.append(EpisodeScores(f"p{person}", "e", score_episode(probabilities, labels), slopes))
        data.append((probabilities, labels, who))
    found = bootstrap_intervals(drawn, resamples=2000)
    means = []
    for _ in range(400):
        times = np.bincount(rng.integers(speakers, size=speakers), minlength=speakers)
        values = []
        for person in rng.integers(persons, size=persons):
            probabilities, labels, who = data[person]
            rows = np.repeat(np.arange(len(who)), times[who])
            scores = score_episode(probabilities[rows], labels[rows])
            values.append([scores[metric] for metric in metrics])
        means.append(np.mean(values, axis=0))
    bounds = np.quantile(means, [0.025, 0.975], axis=0).T
    for metric, (low, high) in zip(metrics, bounds, strict=True):
        assert found[metric].pigeonhole == pytest.approx((low, high), abs=0.2 * (high - low)), metric


def crossed(rng, person_sd, speaker_sd, persons=15, speakers=12, shift=0.0):
    """One episode a person with every speaker once; true mean `shift`."""
    own = rng.normal(0, person_sd, persons)[:, None] + rng.normal(0, speaker_sd, speakers)
    values = shift + own + rng.normal(0, 0.1, (persons, speakers))
    return [
        EpisodeScores(
            f"p{person:02}",
            "e",
            {"log_loss": row.mean()},
            {"log_loss": {f"s{s}": (value - row.mean()) / speakers for s, value in enumerate(row)}},
        )
        for person, row in enumerate(values)
    ]


def coverage(person_sd, speaker_sd, trials=200):
    """How often the printed interval and the hierarchical one hold the true mean."""
    rng = np.random.default_rng(1)
    hits = np.zeros(2)
    for trial in range(trials):
        drawn = crossed(rng, person_sd, speaker_sd)
        found = bootstrap_intervals(drawn, seed=trial, resamples=400)["log_loss"]
        hits += [found.low <= 0 <= found.high, found.hierarchical[0] <= 0 <= found.hierarchical[1]]
    return hits / trials


def test_the_interval_covers_the_truth_where_speakers_differ():
    printed, hierarchical = coverage(person_sd=0.1, speaker_sd=0.3)
    assert hierarchical < 0.6
    assert printed > 0.88


def test_the_interval_covers_the_truth_where_speakers_are_alike():
    printed, hierarchical = coverage(person_sd=0.3, speaker_sd=0.0)
    assert 0.88 < hierarchical <= printed <= 0.99


def test_the_pigeonhole_interval_matches_a_plain_loop():
    """The loop weighs each answer by how often its person and its speaker were drawn."""
    rng = np.random.default_rng(2)
    drawn = crossed(rng, 0.2, 0.3)
    found = bootstrap_intervals(drawn, resamples=4000)["log_loss"]
    values = np.array([[s * 12 for s in each.by_speaker["log_loss"].values()] for each in drawn])
    values += np.array([each.metrics["log_loss"] for each in drawn])[:, None]
    means = []
    for _ in range(4000):
        rows = rng.integers(15, size=15)
        columns = rng.integers(12, size=12)
        means.append(values[rows][:, columns].mean())
    assert found.pigeonhole == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.02)
    assert (found.low, found.high) == found.pigeonhole
    assert found.mean == pytest.approx(values.mean())


def test_what_all_persons_share_cancels_in_a_paired_difference():
    first = crossed(np.random.default_rng(3), 0.1, 0.3)
    second = crossed(np.random.default_rng(3), 0.1, 0.3, shift=0.05)
    found = metric_difference(second, first, "log_loss")
    assert (found.mean, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))


def test_without_speakers_there_is_one_interval():
    known = crossed(np.random.default_rng(4), 0.1, 0.3)
    unknown = [EpisodeScores(each.person, each.episode_id, each.metrics) for each in known]
    found = bootstrap_intervals(unknown)["log_loss"]
    assert found.hierarchical is found.pigeonhole is None
    assert scored(unknown, "log_loss").by_speaker.shape == (15, 0)
    mixed = metric_difference(known, unknown, "log_loss")
    assert (mixed.mean, mixed.pigeonhole) == (0, None)
