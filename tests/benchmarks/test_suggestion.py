"""Suggested and random labels are compared on the same pools, which hold no query."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from benchmarks.suggestion import suggestion
from perser.episodes.episode import tasks_of
from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.metrics import score_episode


class BaseRates:
    """A model that answers with how often the person gave each label, and evenly before enrollment."""

    route = "fake"

    def __init__(self, emotions):
        self.emotions = emotions
        self.supports = []

    def encode_clips(self, clips):
        return clips

    def embed_clips(self, heard, names):
        return np.array([[len(heard.waveform(name)), heard.waveform(name).std()] for name in names])

    def enroll(self, heard, support):
        self.supports.append(support)
        assert set(support.utterances) <= set(heard.utterance_ids)
        return self.rates(support)

    def rates(self, support):
        return {"rates": torch.as_tensor(self.emotions.distribution(support.emotions).mean(axis=0))}

    def predictor(self, tensors, labels):
        even = torch.full((len(self.emotions),), 1 / len(self.emotions))
        rates = tensors.get("rates", even).numpy()

        class Predictor:
            def predict_proba(self, heard, names):
                return np.tile(rates, (len(names), 1)).astype(np.float32)

        return Predictor()


@pytest.fixture
def run(toy_corpus, toy_episodes, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(toy_corpus.folder, folder / "corpus")
    toy_episodes.save(folder / "episodes.json")
    (folder / "models" / "speech-lm").mkdir(parents=True)
    return folder


@pytest.fixture
def model(toy_corpus, monkeypatch):
    model = BaseRates(toy_corpus.emotions)
    monkeypatch.setattr(Recognizer, "from_pretrained", lambda folder: Recognizer(model, str(folder)))
    return model


def test_both_choices_come_from_the_persons_labels_without_the_queries(
    run, model, toy_corpus, toy_episodes, tmp_path, capsys
):
    suggestion(run, n=3, pool=9, draws=2, out=tmp_path / "found.json")
    tasks, supports = tasks_of(toy_corpus, "listener"), iter(model.supports)
    scores = {"suggested": [], "random": []}
    for episode in toy_episodes.episodes:
        task = tasks[episode.person]
        labels = dict(zip(task.utterances, task.emotions, strict=True))
        targets = toy_corpus.emotions.multi_hot(episode.query_emotions)
        drawn = [next(supports) for _ in range(3)]
        for support in drawn:
            assert len(set(support.utterances)) == 3
            assert not set(support.utterances) & set(episode.query_utterances)
            assert [labels[utterance] for utterance in support.utterances] == list(support.emotions)
        assert len({utterance for support in drawn for utterance in support.utterances}) <= 9
        found = [
            score_episode(model.predictor(model.rates(support), ()).predict_proba(None, targets), targets)
            for support in drawn
        ]
        scores["suggested"].append(found[0]["maF1"])
        scores["random"].append(np.mean([metrics["maF1"] for metrics in found[1:]]))
    assert next(supports, None) is None
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    for name, expected in scores.items():
        assert row[name]["mean"] == pytest.approx(np.mean(expected))
    difference = np.subtract(scores["suggested"], scores["random"]).mean()
    assert row["difference"]["mean"] == pytest.approx(difference)
    shown = capsys.readouterr().out
    assert f"{100 * row['suggested']['mean']:.1f}" in shown
    assert f"{100 * difference:+.1f}" in shown


def test_the_same_seed_gives_the_same_figures_on_a_part_of_the_episodes(run, model, tmp_path):
    for name in ("first.json", "second.json"):
        suggestion(run, n=2, pool=8, draws=1, limit=3, out=tmp_path / name)
    assert (tmp_path / "first.json").read_text() == (tmp_path / "second.json").read_text()
    (row,) = json.loads((tmp_path / "first.json").read_text())["rows"]
    assert row["episodes"] == 3


def test_impossible_options_are_refused(run, model):
    for wrong in ({"n": 0}, {"draws": 0}, {"n": 9, "pool": 9}):
        with pytest.raises(UserError, match="pool above n"):
            suggestion(run, **wrong)
    (run / "models" / "speech-lm").rmdir()
    with pytest.raises(UserError, match="holds none of meta-perser, speech-lm"):
        suggestion(run)
