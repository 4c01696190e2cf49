"""The page of what was learned from a few clips."""

import json
from pathlib import Path

import pytest

from benchmarks.few_shot.table import table
from perser.errors import UserError

ROW = {"mean": 0.5, "low": 0.4, "high": 0.6}
CONTENT = {
    "corpus": "emodb",
    "person": "speaker",
    "labels": "invented",
    "standardize": "corpus",
    "draws": 2,
    "emotions": ["sad", "happy"],
    "notes": ["left out: 3 clips"],
    "shots": {
        "1": {"speech-lm": ROW, "shuffled": ROW | {"mean": 0.45}, "nearest-mean": ROW, "meta-perser": None}
    },
    "pairs": {"0": {"speech-lm": ROW, "nearest-mean": None}},
    "ahead": {
        "shots": {"1": {"nearest-mean": {"mean": -0.02, "low": -0.1, "high": 0.06}}},
        "pairs": {"0": {}},
    },
    "settings": {"shots": {"1": {"persons": 9}}, "pairs": {"0": {"persons": 10}}},
}


def test_each_file_is_a_section_with_a_row_for_each_setting(tmp_path):
    for name in ("german_voices", "again"):
        (tmp_path / f"{name}.json").write_text(json.dumps(CONTENT))
    out = tmp_path / "page.md"
    table([tmp_path / "german_voices.json", tmp_path / "again.json"], out)
    page = out.read_text()
    assert page.index("## german voices") < page.index("## again")
    assert "emodb, 10 speakers, 2 draws each; classes: sad, happy; words: invented" in page
    assert "Left out: 3 clips." in page
    rows = [line for line in page.splitlines() if line.startswith("|")][:4]
    assert rows[0] == "| Enrolled | speech-lm | shuffled | nearest-mean | ahead of nearest-mean |"
    assert rows[2] == (
        "| 1 a class | 50.0 (40.0 to 60.0) | 45.0 (40.0 to 60.0) | 50.0 (40.0 to 60.0) "
        "| -2.0 (-10.0 to +6.0) |"
    )
    assert rows[3] == "| 0 at random | 50.0 (40.0 to 60.0) | - | - | - |"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shots": {"1": {}}, "pairs": {}, "ahead": {}}'])
def test_another_file_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"other\.json: no file that python -m benchmarks\.few_shot wrote"):
        table([file], tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize("name", ["few_shot", "few_shot_other_corpora"])
def test_the_pages_of_the_repository_are_made_from_the_files_beside_them(name, tmp_path):
    results = Path(__file__).parents[3] / "benchmarks" / "results"
    table(sorted((results / name).glob("*.json")), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (results / f"{name}.md").read_text()
