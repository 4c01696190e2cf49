"""Suggested and random labels are compared on the same pools, without a query in them, and honestly."""

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
    """Answers with how often the person gave each label; unadapted, evenly."""

    route = "fake"

    def __init__(self, emotions):
        self.emotions = emotions
        self.supports = []

    def encode_clips(self, clips):
        return clips

    def embed_clips(self, heard, names):
        return np.array([[len(heard.waveform(one)), heard.waveform(one).std()] for one in names])

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
    made = BaseRates(toy_corpus.emotions)
    monkeypatch.setattr(
        "benchmarks.suggestion.Recognizer.from_pretrained", lambda folder: Recognizer(made, str(folder))
    )
    return made


def test_both_choices_are_made_from_what_the_person_labeled_without_the_queries(
    run, model, toy_corpus, toy_episodes, tmp_path, capsys
):
    suggestion(run, n=3, pool=9, draws=2, out=tmp_path / "found.json")
    tasks, supports = tasks_of(toy_corpus, "listener"), iter(model.supports)
    scores = {"suggested": [], "random": []}
    for episode in toy_episodes.episodes:
        task = tasks[episode.person]
        given = dict(zip(task.utterances, task.emotions, strict=True))
        targets = toy_corpus.emotions.multi_hot(episode.query_emotions)
        drawn = [next(supports) for _ in range(3)]
        for support in drawn:
            assert len(set(support.utterances)) == 3
            assert not set(support.utterances) & set(episode.query_utterances)
            assert [given[one] for one in support.utterances] == list(support.emotions)
        assert len({one for support in drawn for one in support.utterances}) <= 9
        found = [
            score_episode(model.predictor(model.rates(one), ()).predict_proba(None, targets), targets)
            for one in drawn
        ]
        scores["suggested"].append(found[0]["maF1"])
        scores["random"].append(np.mean([one["maF1"] for one in found[1:]]))
    assert next(supports, None) is None
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    for name, expected in scores.items():
        assert row[name]["mean"] == pytest.approx(np.mean(expected))
    apart = np.subtract(scores["suggested"], scores["random"]).mean()
    assert row["difference"]["mean"] == pytest.approx(apart)
    shown = capsys.readouterr().out
    assert f"{100 * row['suggested']['mean']:.1f}" in shown
    assert f"{100 * apart:+.1f}" in shown


def test_a_seed_gives_the_same_again_and_some_episodes_may_do(run, model, tmp_path):
    for name in ("one.json", "two.json"):
        suggestion(run, n=2, pool=8, draws=1, limit=3, out=tmp_path / name)
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    (row,) = json.loads((tmp_path / "one.json").read_text())["rows"]
    assert row["episodes"] == 3


def test_what_makes_no_sense_is_a_line(run, model):
    for wrong in ({"n": 0}, {"draws": 0}, {"n": 9, "pool": 9}):
        with pytest.raises(UserError, match="pool above n"):
            suggestion(run, **wrong)
    (run / "models" / "speech-lm").rmdir()
    with pytest.raises(UserError, match="holds none of meta-perser, speech-lm"):
        suggestion(run)
