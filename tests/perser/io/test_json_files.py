"""JSON files and JSON values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from perser.io.json_files import read_json, to_json_value, write_json


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"name": "é", "values": [1, 2]})
    assert read_json(path) == {"name": "é", "values": [1, 2]}
    assert path.read_text() == '{\n "name": "\\u00e9",\n "values": [\n  1,\n  2\n ]\n}\n'
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": ', "[" * 100_000])
def test_a_damaged_file_reads_as_none(content, tmp_path):
    (tmp_path / "file.json").write_text(content)
    assert read_json(tmp_path / "file.json") is None
    assert read_json(tmp_path / "missing.json") is None


def test_options_become_json_values():
    @dataclass
    class Options:
        folder: Path
        sizes: tuple[int, ...]

    assert to_json_value({"options": [Options(Path("a/b"), (1, 2))], "rate": 0.5}) == {
        "options": [{"folder": "a/b", "sizes": [1, 2]}],
        "rate": 0.5,
    }
