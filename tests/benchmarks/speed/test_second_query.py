from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import second_query
from benchmarks.speed.first_answer import first_episode_clips
from benchmarks.speed.second_query import PAIRS, find_browser
from perser.demo import serving
from perser.errors import UserError
from perser.inference.recognizer import Recognizer


@pytest.fixture
def run(tmp_path, toy_corpus, toy_episodes_path) -> Path:
    (tmp_path / "corpus").symlink_to(toy_corpus.folder)
    (tmp_path / "episodes.json").symlink_to(toy_episodes_path)
    return tmp_path


class UndecidedModel:
    """A model that finds all emotions equally likely."""

    def __init__(self, emotions) -> None:
        self.route, self.emotions = "undecided", emotions

    def encode_clips(self, clips):
        return clips

    def enroll(self, clips, support):
        return {}

    def predictor(self, tensors, labels):
        return self

    def predict_proba(self, clips, names):
        return np.full((len(names), len(self.emotions)), 1 / len(self.emotions), np.float32)


def test_the_median_leaves_out_the_first_query(run, monkeypatch, capsys):
    """The times are made up."""
    calls = []

    def answer_seconds(program, models, examples, clips):
        calls.append((len(models), len(examples), len(clips)))
        return [9.0, 0.3, 0.1, 0.2]

    monkeypatch.setattr(second_query, "_answer_seconds", answer_seconds)
    monkeypatch.setattr(second_query, "find_browser", lambda: "browser")
    second_query.speed_second_query(run, queries=3, json=run / "out" / "figures.json")
    figures = json.loads((run / "out" / "figures.json").read_text())
    assert [(case["median"], case["longest"]) for case in figures.values()] == [(0.2, 0.3)] * 3
    assert calls == [(1, 8, 4), (1, 8, 4), (2, 8, 4)]
    assert "both: 0.200 s, at most 0.300 s (3 queries after the first)" in capsys.readouterr().out


def test_the_page_is_driven_in_a_browser(run, toy_corpus, monkeypatch):
    pytest.importorskip("gradio")
    if (program := find_browser()) is None:
        pytest.skip("no browser here")
    models = {name: Recognizer(UndecidedModel(toy_corpus.emotions), name) for name in ("one", "two")}
    monkeypatch.setattr(serving, "load_models", lambda folders: models)
    examples, clips = first_episode_clips(run, PAIRS, 2)
    taken = second_query._answer_seconds(program, ["one", "two"], examples, clips)
    assert len(taken) == 2
    assert all(0 < seconds < 15 for seconds in taken)


def test_an_error_says_what_is_missing(run, monkeypatch):
    with pytest.raises(UserError, match="queries: 0"):
        second_query.speed_second_query(run, queries=0)
    monkeypatch.setattr(second_query, "find_browser", lambda: None)
    with pytest.raises(UserError, match="no browser here: install one of chromium"):
        second_query.speed_second_query(run)
