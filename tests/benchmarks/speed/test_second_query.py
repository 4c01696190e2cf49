from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import second_query
from benchmarks.speed.second_query import find_browser
from perser.errors import UserError
from perser.inference.recognizer import Recognizer


@pytest.fixture
def run(tmp_path, toy_corpus, toy_episodes_path) -> Path:
    (tmp_path / "corpus").symlink_to(toy_corpus.folder)
    (tmp_path / "episodes.json").symlink_to(toy_episodes_path)
    return tmp_path


class Undecided:
    """A model that finds every emotion as likely as another."""

    def __init__(self, emotions) -> None:
        self.route, self.emotions = "undecided", emotions

    def encode_clips(self, clips):
        return clips

    def enroll(self, heard, support):
        return {}

    def predictor(self, tensors, labels):
        return self

    def predict_proba(self, heard, names):
        return np.full((len(names), len(self.emotions)), 1 / len(self.emotions), np.float32)


def test_medians_are_of_the_later_queries(run, monkeypatch, capsys):
    """With made-up times."""
    asked = []

    def waited(program, models, examples, clips):
        asked.append((len(models), len(examples), len(clips)))
        return [9.0, 0.3, 0.1, 0.2]

    monkeypatch.setattr(second_query, "_waited", waited)
    monkeypatch.setattr(second_query, "find_browser", lambda: "browser")
    second_query.speed_second_query(run, queries=3, json=run / "out" / "figures.json")
    figures = json.loads((run / "out" / "figures.json").read_text())
    assert [(one["median"], one["longest"]) for one in figures.values()] == [(0.2, 0.3)] * 3
    assert asked == [(1, 8, 4), (1, 8, 4), (2, 8, 4)]
    assert "both: 0.200 s, at most 0.300 s (3 queries after the first)" in capsys.readouterr().out


def test_the_page_is_driven_in_a_browser(run, toy_corpus, monkeypatch):
    pytest.importorskip("gradio")
    if (program := find_browser()) is None:
        pytest.skip("no browser here")
    models = {name: Recognizer(Undecided(toy_corpus.emotions), name) for name in ("one", "two")}
    monkeypatch.setattr("perser.demo.serving.load_models", lambda folders: models)
    examples, clips = second_query._material(run, 2)
    taken = second_query._waited(program, ["one", "two"], examples, clips)
    assert len(taken) == 2
    assert all(0 < one < 15 for one in taken)


def test_what_is_missing_is_said(run, monkeypatch):
    with pytest.raises(UserError, match="queries: 0"):
        second_query.speed_second_query(run, queries=0)
    monkeypatch.setattr(second_query, "find_browser", lambda: None)
    with pytest.raises(UserError, match="no browser here: install one of chromium"):
        second_query.speed_second_query(run)
