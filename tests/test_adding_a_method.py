"""The worked example of docs/adding_a_method.md, as a package of somebody else's: listed and measured."""

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
    trained = {"epochs": 1, "head_size": 8, "adaptation_steps": 2}
    pretrain(mine / "corpus", mine / "episodes.json", mine / "models" / "ssl-e", scope="head", **trained)
    EXAMPLE.run(tmp_path / "site-packages", monkeypatch)
    printed = " ".join(capsys.readouterr().out.split())
    assert "nearest Nearest: the labels of the enrolled clip that sounds most alike." in printed
    rows = json.loads((mine / "results" / "results.json").read_text())["rows"]
    adapts = {row["method"]: row["adapts"] for row in rows}
    assert list(adapts) == ["random", "entire-zero", "nearest", "nearest-8"]
    assert (adapts["nearest"], adapts["nearest-8"]) == ({"pairs": "all"}, {"pairs": 8})
    scored = [row["metrics"] for row in rows if row["method"].startswith("nearest")]
    assert scored[0] == scored[1], "eight are all there are"


def test_the_example_is_formatted_as_the_rest_is(tmp_path):
    EXAMPLE.check_format(tmp_path)
