"""Thresholds of validation persons: the best of all, and the F1 that they give."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from benchmarks.measuring.measure import write_scores
from benchmarks.measuring.predictions import Predictions
from benchmarks.measuring.scores import Scores
from benchmarks.measuring.thresholds import (
    TUNED,
    choose_thresholds,
    decide_at,
    macro_f1,
)
from perser.selection.validation import first_of_each_person


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((80, 3)) < [0.1, 0.3, 0.6]).astype(int)
    probabilities = np.round(rng.dirichlet([1, 1, 1], 80) * 0.7 + 0.3 * labels, 2).astype(np.float32)
    chosen = choose_thresholds(probabilities, labels)
    for place, threshold in enumerate(chosen):
        found = [
            f1_score(labels[:, place], probabilities[:, place] >= t) for t in (*probabilities[:, place], 1.1)
        ]
        assert f1_score(labels[:, place], probabilities[:, place] >= np.float32(threshold)) == max(found)
    decided = probabilities >= np.array(chosen, dtype=np.float32)
    expected = f1_score(labels, decided, average="macro")
    assert macro_f1(labels, decide_at(probabilities, chosen)) == pytest.approx(expected, abs=1e-12)


def test_an_emotion_that_nobody_heard_is_decided_as_in_the_papers():
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4]])
    assert choose_thresholds(probabilities, np.array([[1, 0], [1, 0]])) == [0.6, 0.5]


def test_the_tuned_f1_of_each_episode_follows_from_the_predictions(case, tmp_path):
    write_scores(case, tmp_path / "scores.json")
    validation = case.episode_file.validation_episodes
    assert [one.person for one in first_of_each_person(validation)] == sorted(
        {one.person for one in validation}
    )
    for method in Scores.load(tmp_path / "scores.json").methods:
        scores = {episode.episode_id: episode.metrics[TUNED] for episode in method.episodes}
        for path in (tmp_path / "predictions" / method.method).glob("*"):
            predictions = Predictions.load(path)
            heard = pq.read_table(path)
            for place, episode_id in enumerate(predictions.episodes):
                rows = np.array(heard["episode_id"].to_pylist()) == episode_id
                words = [words for words, mine in zip(heard["heard"].to_pylist(), rows, strict=True) if mine]
                labels = np.array([[name in given for name in predictions.emotions] for given in words])
                thresholds = np.array(predictions.origin.thresholds, dtype=np.float32)
                decided = predictions.answers[place].probabilities >= thresholds
                expected = f1_score(labels, decided, average="macro", zero_division=0)
                assert scores[episode_id] == pytest.approx(expected, abs=1e-9)
