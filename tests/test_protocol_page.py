"""docs/protocol.md: its few lines compute from the predictions what the harness computed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.measuring.cells import Case
from benchmarks.measuring.measure import write_scores
from benchmarks.measuring.scores import Scores

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"
[EXAMPLE] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_example_gives_the_saved_scores(toy_corpus, toy_episodes_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = Case(toy_corpus.folder, toy_episodes_path, Path("models"), Path("cache"), ("random",))
    write_scores(case, Path("scores.json"))
    [read] = re.findall(r'read_table\("(.*?)"\)', EXAMPLE)
    Path(read).parent.mkdir(parents=True)
    shutil.copy("predictions/random/seed-0.parquet", read)
    capsys.readouterr()
    exec(compile(EXAMPLE, str(PAGE), "exec"), {})
    printed = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    saved = {
        one.episode_id: one.metrics["maF1"] for one in Scores.load(Path("scores.json")).methods[0].episodes
    }
    assert set(printed) == {one.episode_id for one in case.episodes_by_seed[0]}
    for episode, score in printed.items():
        assert float(score) == pytest.approx(saved[episode], abs=1e-9)
