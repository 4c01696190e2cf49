"""The example in docs/protocol.md computes from the predictions the scores that the harness saved."""

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
    [path] = re.findall(r'read_table\("(.*?)"\)', EXAMPLE)
    Path(path).parent.mkdir(parents=True)
    shutil.copy("predictions/random/seed-0.parquet", path)
    capsys.readouterr()
    exec(compile(EXAMPLE, str(PAGE), "exec"), {})
    printed = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    episodes = Scores.load(Path("scores.json")).methods[0].episodes
    saved = {episode.episode_id: episode.metrics["maF1"] for episode in episodes}
    assert set(printed) == {episode.episode_id for episode in case.episodes_by_seed[0]}
    for episode_id, score in printed.items():
        assert float(score) == pytest.approx(saved[episode_id], abs=1e-9)
