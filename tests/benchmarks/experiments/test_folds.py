"""The folds and settings of an experiment, and the names of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.experiments.folds import Setting, plan_folds, plan_settings
from perser.episodes.splits import SplitOptions
from perser.errors import UserError

USUAL = Setting(32, "any")


def test_the_usual_setting_comes_first_and_each_comes_once():
    settings = plan_settings(USUAL, [32, 8], ["missing", "any", "missing"])
    assert settings == [USUAL, Setting(8, "any"), Setting(32, "missing")]


def test_names_of_files_and_stages_have_what_differs_from_the_usual_setting():
    (fold,) = plan_folds(None, SplitOptions(), USUAL, Path("out"))
    settings = plan_settings(USUAL, [8], ["missing"])
    assert [fold.episodes(setting).name for setting in settings] == [
        "episodes.json",
        "episodes-k8.json",
        "episodes-missing.json",
    ]
    assert [fold.scores(setting).name for setting in settings] == [
        "scores.json",
        "scores-k8.json",
        "scores-missing.json",
    ]
    stages = [fold.stage("bench", setting) for setting in settings]
    assert stages == ["bench", "bench k=8", "bench missing"]


def test_every_fold_has_its_own_folder():
    folds = plan_folds("all", SplitOptions(folds=3), USUAL, Path("out"))
    assert [fold.folder.name for fold in folds] == ["fold-0", "fold-1", "fold-2"]
    assert [fold.split.fold for fold in folds] == [0, 1, 2]
    with pytest.raises(UserError, match="folds"):
        plan_folds([3], SplitOptions(folds=3), USUAL, Path("out"))


def test_a_fold_of_version_0_1_0_keeps_its_folder_and_stages(tmp_path):
    (tmp_path / "turn-1").mkdir()
    folds = plan_folds("all", SplitOptions(folds=2), USUAL, tmp_path)
    assert [fold.folder.name for fold in folds] == ["fold-0", "turn-1"]
    assert folds[1].stage("pretrain", USUAL) == "turn-1 pretrain"
