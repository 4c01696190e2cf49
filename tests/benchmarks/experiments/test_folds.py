from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.experiments.folds import Setting, plan_settings, plan_turns
from perser.episodes.splits import SplitOptions
from perser.errors import UserError

USUAL = Setting(32, "any")


def test_the_usual_setting_comes_first_and_each_comes_once():
    found = plan_settings(USUAL, [32, 8], ["missing", "any", "missing"])
    assert found == [USUAL, Setting(8, "any"), Setting(32, "missing")]


def test_files_and_stages_say_what_differs_from_the_usual():
    (turn,) = plan_turns(None, SplitOptions(), USUAL, Path("out"))
    settings = plan_settings(USUAL, [8], ["missing"])
    assert [turn.episodes(one).name for one in settings] == [
        "episodes.json",
        "episodes-k8.json",
        "episodes-missing.json",
    ]
    assert [turn.scores(one).name for one in settings] == [
        "scores.json",
        "scores-k8.json",
        "scores-missing.json",
    ]
    assert [turn.stage("bench", one) for one in settings] == ["bench", "bench k=8", "bench missing"]


def test_every_fold_has_its_own_folder():
    turns = plan_turns("all", SplitOptions(folds=3), USUAL, Path("out"))
    assert [turn.folder.name for turn in turns] == ["turn-0", "turn-1", "turn-2"]
    assert [turn.split.fold for turn in turns] == [0, 1, 2]
    with pytest.raises(UserError, match="turns"):
        plan_turns([3], SplitOptions(folds=3), USUAL, Path("out"))
