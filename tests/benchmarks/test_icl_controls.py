"""Each condition changes the support as it says, and reading the enrollment shows in the results."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from benchmarks import icl_controls as module
from benchmarks.icl_controls import CONDITIONS, icl_controls, replace_supports, spread_over_orders
from benchmarks.measuring.statistics import EpisodeScores
from perser.episodes.episode import Support
from perser.errors import UserError
from perser.personalizer import Personalizer
from speechlm_icl.train import icl_train


def pairs(support: Support) -> list:
    return list(zip(support.utterances, support.emotions, strict=True))


@pytest.fixture
def both(toy_corpus, toy_episodes):
    """Each episode before and after."""
    tasks = toy_episodes.tasks(toy_corpus, "test")

    def pair_up(name, size=8, seed=0):
        made = replace_supports(toy_episodes, tasks, name, size, seed)
        return list(zip(toy_episodes.episodes, made.episodes, strict=True))

    return pair_up


@pytest.mark.parametrize("name", [*CONDITIONS, "order 1"])
def test_queries_stay_the_same_and_a_draw_depends_only_on_the_seed(both, name):
    for before, after in both(name):
        assert (before.person, before.query_utterances, before.query_emotions) == (
            after.person,
            after.query_utterances,
            after.query_emotions,
        )
        assert len(after.support) == (0 if name == "none" else 8)
    assert both(name, seed=1) == both(name, seed=1)


def test_fewer_pairs_are_the_first_of_the_support(both):
    assert all(pairs(after.support) == pairs(before.support)[:3] for before, after in both("true", 3))


def test_shuffled_labels_keep_the_clips_and_the_count_of_each_label(both):
    moved = 0
    for before, after in both("shuffled labels"):
        assert after.support.utterances == before.support.utterances
        assert sorted(after.support.emotions) == sorted(before.support.emotions)
        moved += after.support.emotions != before.support.emotions
    assert moved > 2


def test_another_persons_pairs_are_of_one_other_person_and_hold_no_query(both, toy_corpus, toy_episodes):
    tasks = toy_episodes.tasks(toy_corpus, "test")
    labeled = {task.person: set(zip(task.utterances, task.emotions, strict=True)) for task in tasks}
    for before, after in both("another person's"):
        shown = set(pairs(after.support))
        assert any(shown <= theirs for person, theirs in labeled.items() if person != before.person)
        assert not set(after.support.utterances) & set(before.query_utterances)


def test_a_single_test_person_is_refused(toy_corpus, toy_episodes):
    tasks = toy_episodes.tasks(toy_corpus, "test")
    first = toy_episodes.episodes[0].person
    with pytest.raises(UserError, match="draw episodes of more"):
        replace_supports(toy_episodes, [task for task in tasks if task.person == first], "true", 8, 0)


def test_orders_keep_the_pairs_and_differ(both):
    first, second = both("order 1"), both("order 2")
    for before, after in first:
        assert sorted(pairs(after.support)) == sorted(pairs(before.support))
    assert [after.support for _, after in first] != [after.support for _, after in second]


class Parrot(Personalizer):
    """A method that reads its enrollment in any order: with more true pairs it gives better answers."""

    route: ClassVar[str] = "speech-lm"

    def __init__(self, episodes, emotions) -> None:
        self.targets = {
            episode.query_utterances: emotions.multi_hot(episode.query_emotions) for episode in episodes
        }
        self.enrolled = {episode.query_utterances: set(pairs(episode.support)) for episode in episodes}

    def personalize(self, support):
        return ParrotPredictor(self, support)

    def describe(self):
        return {"pairs": "all"}


class ParrotPredictor:
    def __init__(self, parrot, support) -> None:
        self.parrot, self.support = parrot, support

    def predict_proba(self, utterances):
        targets = self.parrot.targets[tuple(utterances)]
        known = len(set(pairs(self.support)) & self.parrot.enrolled[tuple(utterances)]) / 8
        right = targets / targets.sum(axis=1, keepdims=True)
        probabilities = known * right + (1 - known) / targets.shape[1]
        return probabilities.astype(np.float32)


@pytest.fixture
def results(toy_corpus, toy_episodes, toy_episodes_path, tmp_path, monkeypatch):
    parrot = Parrot(toy_episodes.episodes, toy_corpus.emotions)
    monkeypatch.setattr(module, "build_method", lambda name, context: parrot)
    icl_controls(toy_corpus.folder, toy_episodes_path, tmp_path / "models", tmp_path / "out", orders=2)
    return json.loads((tmp_path / "out" / "controls.json").read_text()), (
        tmp_path / "out" / "controls.md"
    ).read_text()


def test_a_model_that_reads_its_enrollment_gains_only_with_the_true_one_in_any_order(results):
    found, page = results
    score = {row["condition"]: row["metrics"]["maF1"]["mean"] for row in found["rows"]}
    assert list(score) == ["none", "true", "shuffled labels", "another person's", "order 1", "order 2"]
    assert score["none"] == 0
    assert score["true"] == score["order 1"] == score["order 2"]
    assert score["another person's"] < score["true"]
    assert found["orders"]["maF1"] == {
        "orders": 3,
        "mean": pytest.approx(score["true"]),
        "std_of_an_episode": 0,
        "std_of_the_mean": 0,
    }
    gains = {
        (pair["condition"], pair["minus"]): pair for pair in found["differences"] if pair["metric"] == "maF1"
    }
    assert set(gains) == {
        ("true", "none"),
        ("shuffled labels", "none"),
        ("another person's", "none"),
        ("none", "true"),
        ("shuffled labels", "true"),
        ("another person's", "true"),
    }
    gain = gains["true", "none"]
    assert gain["mean"] == pytest.approx(score["true"] - score["none"])
    assert 0 < gain["low"] <= gain["mean"] <= gain["high"]
    assert page.count("\n| another person's |") == 1 + 2 * 3
    assert "Simulated data" in page


def test_the_spread_over_orders_is_a_sample_standard_deviation():
    scores = [[0.1, 0.5], [0.3, 0.5], [0.2, 0.2]]

    def method(values):
        return [EpisodeScores("p", str(i), {"maF1": value}) for i, value in enumerate(values)]

    spread = spread_over_orders([method(order) for order in scores], "maF1")
    expected = (np.std([0.1, 0.3, 0.2], ddof=1) + np.std([0.5, 0.5, 0.2], ddof=1)) / 2
    assert spread["std_of_an_episode"] == pytest.approx(expected)
    assert spread["std_of_the_mean"] == pytest.approx(np.std([0.3, 0.4, 0.2], ddof=1))


def test_a_trained_model_is_measured_in_one_command(toy_corpus, toy_episodes_path, tmp_path):
    quick = {"steps": 2, "pairs": 4, "batch_size": 2, "validation_sequences": 2}
    models, cache = tmp_path / "models", tmp_path / "cache"
    icl_train(
        toy_corpus.folder, toy_episodes_path, models / "speech-lm", cache, encoder="tiny-whisper", **quick
    )
    icl_controls(
        toy_corpus.folder,
        toy_episodes_path,
        models,
        tmp_path / "out",
        cache,
        "speech-lm+orders=2",
        pairs=4,
        orders=1,
    )
    found = json.loads((tmp_path / "out" / "controls.json").read_text())
    assert found["pairs"] == 4
    assert [row["condition"] for row in found["rows"]] == [*CONDITIONS, "order 1"]


@pytest.mark.parametrize(
    ("wrong", "message"), [({"orders": 0}, "orders"), ({"pairs": 9}, "k = 8"), ({"pairs": 0}, "pairs")]
)
def test_numbers_out_of_range_are_refused(toy_corpus, toy_episodes_path, tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        icl_controls(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "out", **wrong)


def test_a_method_that_reads_no_prompt_is_refused(toy_corpus, toy_episodes_path, tmp_path):
    with pytest.raises(UserError, match="'random' does not read"):
        icl_controls(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "out", method="random")
