"""The scores file follows from the predictions, and says what they were made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    roc_auc_score,
)

from benchmarks.measuring.measure import predictions_of, weights_digests, write_scores
from benchmarks.measuring.scores import Scores
from perser import environment


def threshold_free(heard: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Log loss of the label distribution, AUROC and average precision, by scikit-learn."""
    rows, labels = heard.nonzero()
    weights, places = 1 / heard.sum(axis=1)[rows], range(heard.shape[1])
    some = [c for c in places if 0 < heard[:, c].sum() < len(heard)]
    given = [c for c in places if heard[:, c].any()]
    precisions = [average_precision_score(heard[:, c], probabilities[:, c]) for c in given]
    areas = [roc_auc_score(heard[:, c], probabilities[:, c]) for c in some]
    loss = log_loss(labels, probabilities[rows], sample_weight=weights, labels=places)
    return {"log_loss": loss, "average_precision": np.mean(precisions), "auroc": np.mean(areas)}


def test_every_metric_follows_from_the_predictions(case, tmp_path):
    """Computed with scikit-learn from the Parquet files alone."""
    write_scores(case, tmp_path / "scores.json")
    for method in Scores.load(tmp_path / "scores.json").methods:
        files = sorted((tmp_path / "predictions" / method.method).glob("*"))
        table = pa.concat_tables([pq.read_table(path) for path in files])
        columns = [name for name in table.column_names if name.startswith("probability_")]
        probabilities = np.stack([table[name].to_numpy() for name in columns], axis=1)
        emotions = [name.removeprefix("probability_") for name in columns]
        heard = np.array([[name in words for name in emotions] for words in table["heard"].to_pylist()])
        predicted = probabilities > 1 / len(emotions)
        probabilities = probabilities.astype(np.float64)
        episodes = np.array(table["episode_id"].to_pylist())
        for episode in method.episodes:
            rows = episodes == episode.episode_id
            truth, guess = heard[rows], predicted[rows]
            expected = {
                "maF1": f1_score(truth, guess, average="macro", zero_division=0),
                "miF1": f1_score(truth, guess, average="micro", zero_division=0),
                "label_accuracy": accuracy_score(truth.ravel(), guess.ravel()),
                "balanced_accuracy": balanced_accuracy_score(truth.ravel(), guess.ravel()),
            } | threshold_free(truth, probabilities[rows])
            for name, value in expected.items():
                assert episode.metrics[name] == pytest.approx(value, abs=1e-9)


def test_confusion_and_reliability_count_every_utterance(case, tmp_path):
    write_scores(case, tmp_path / "scores.json")
    utterances = sum(len(episode.query_utterances) for episode in case.episode_file.episodes)
    for method in Scores.load(tmp_path / "scores.json").methods:
        assert np.sum(method.confusion) == pytest.approx(utterances, abs=1e-3)
        assert np.array(method.reliability)[:, 0].sum() == utterances


def test_the_scores_name_the_code_that_measured_their_cells(case, tmp_path, monkeypatch):
    """Not the code that only put the scores of finished cells together."""
    out = tmp_path / "scores.json"
    for commit, methods, expected in (
        ("first", ("random",), "first"),
        ("second", ("random",), "first"),
        ("second", case.methods, ["first", "second"]),
    ):
        monkeypatch.setattr(environment, "git_commit", lambda commit=commit: commit)
        write_scores(replace(case, methods=methods), out)
        assert Scores.load(out).provenance["commit"] == expected


def test_the_predictions_lie_beside_their_scores():
    assert predictions_of(Path("run/scores.json")) == Path("run/predictions")
    assert predictions_of(Path("run/scores-k8.json")) == Path("run/predictions-k8")
    assert predictions_of(Path("run/scores.json"), limit=2) == Path("run/predictions-first-2")


def test_a_weights_digest_depends_only_on_the_weights(tmp_path):
    for name, number in (("first", 1.0), ("same", 1.0), ("other", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.full((3,), number)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text(name)
    (tmp_path / "empty").mkdir()
    digests = weights_digests(tmp_path)
    assert set(digests) == {"first", "same", "other"}
    assert digests["first"] == digests["same"] != digests["other"]
    assert weights_digests(tmp_path / "nothing") == {}


def test_an_episode_s_contributions_are_by_the_speakers_of_its_query(case, tmp_path):
    write_scores(case, tmp_path / "scores.json")
    episodes = {episode.episode_id: episode for episode in case.episode_file.episodes}
    for scored in Scores.load(tmp_path / "scores.json").methods[0].episodes:
        names = episodes[scored.episode_id].query_utterances
        speakers = {case.loaded_corpus.utterances[name].speaker for name in names}
        assert set(scored.by_speaker["log_loss"]) == speakers
        assert sum(scored.by_speaker["log_loss"].values()) == pytest.approx(0, abs=1e-5)
