"""An inspected episode: its support and query, each method's answer, and whether it was the same before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks.measuring.cells import Cell, run_cells
from benchmarks.measuring.inspect_episode import answer_text, compute_answer, saved_text, show_episode
from perser.errors import UserError
from perser.labels import EmotionSet


@pytest.fixture
def shown(case, tmp_path):
    def show(episode_id):
        console = Console(record=True, width=200, file=(tmp_path / "printed").open("w"))
        show_episode(episode_id, [(case, tmp_path / "scores.json")], console)
        return console.export_text()

    return show


def test_every_utterance_of_an_episode_is_shown(case, shown):
    episode = case.episode_file.episodes[1]
    text = shown(episode.episode_id)
    for utterance in (*episode.support.utterances, *episode.query_utterances):
        assert utterance in text
    for method in case.methods:
        assert f"{method}: log_loss" in text
    assert text.count("never measured before") == len(case.methods)


def test_it_says_whether_the_answer_is_the_saved_one(case, shown, tmp_path):
    run_cells(case, tmp_path / "predictions")
    episode = case.episode_file.episodes[0]
    assert shown(episode.episode_id).count("; as measured before") == len(case.methods)
    now = compute_answer(case, "random", episode)
    other = replace(now, probabilities=now.probabilities[::-1])
    assert "not as measured before" in saved_text(tmp_path / "predictions", "random", episode, other)
    path = tmp_path / "predictions" / Cell("random", 0).file
    run_cells(replace(case, limit=1), tmp_path / "predictions")
    assert path.exists()
    assert "not among" in saved_text(tmp_path / "predictions", "random", case.episodes_by_seed[0][-1], now)


def test_an_unknown_episode_is_refused_with_examples(shown):
    with pytest.raises(UserError, match=r"no episode 'nobody/7': they are named like sim-"):
        shown("nobody/7")


def test_decided_labels_are_shown_or_else_the_likeliest_in_brackets():
    emotions = EmotionSet(("angry", "happy"))
    assert answer_text(np.array([0.3, 0.7], dtype=np.float32), emotions) == "happy 0.70"
    assert answer_text(np.array([0.5, 0.5], dtype=np.float32), emotions) == "(angry 0.50)"
