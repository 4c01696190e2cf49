"""The worked example of docs/adding_a_method.md, installed as a package of its own, is listed and
measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from meta_perser.pretrain import pretrain

from .worked_example import WorkedExample

EXAMPLE = WorkedExample.of("adding_a_method.md")


def test_the_example_is_listed_and_measured(toy_corpus, toy_episodes_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = Path("runs/mine")
    shutil.copytree(toy_corpus.folder, mine / "corpus")
    shutil.copy(toy_episodes_path, mine / "episodes.json")
    options = {"epochs": 1, "head_size": 8, "adaptation_steps": 2}
    pretrain(mine / "corpus", mine / "episodes.json", mine / "models" / "ssl-e", scope="head", **options)
    EXAMPLE.run(tmp_path / "site-packages", monkeypatch)
    printed = " ".join(capsys.readouterr().out.split())
    assert "nearest Nearest: the labels of the enrolled clip that sounds most similar." in printed
    rows = json.loads((mine / "results" / "results.json").read_text())["rows"]
    adapts = {row["method"]: row["adapts"] for row in rows}
    assert list(adapts) == ["random", "entire-zero", "nearest", "nearest-8"]
    assert (adapts["nearest"], adapts["nearest-8"]) == ({"pairs": "all"}, {"pairs": 8})
    all_pairs, eight_pairs = [row["metrics"] for row in rows if row["method"].startswith("nearest")]
    assert all_pairs == eight_pairs, "a support has eight pairs"


def test_the_example_is_formatted_as_this_repository_is(tmp_path):
    EXAMPLE.check_format(tmp_path)
