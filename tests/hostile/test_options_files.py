"""YAML files of options from strangers give options or one line; no module is imported and no code is run."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.cli.episodes import episodes
from perser.cli.parser import parse_command
from perser.errors import UserError

from .corruption import corrupted, examples, result_or_error, untouched

INTACT = "corpus: corpora/one\nout: episodes.json\nsplit:\n  folds: 4\n  held_out: [a, b]\nk: 8\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def parsed(folder: Path, content: bytes) -> dict | None:
    (folder / "options.yaml").write_bytes(content)
    return result_or_error(lambda: parse_command(episodes, ["--config", str(folder / "options.yaml")]))


@examples(80)
@given(data=st.data())
def test_a_corrupted_file_gives_options_or_a_line(data: st.DataObject):
    content = data.draw(corrupted(INTACT.encode()))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "options.yaml").write_bytes(content)
        with untouched(Path(folder)):
            parsed(Path(folder), content)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch MARK']",
        "!!python/object/new:pathlib.Path ['MARK']",
        "!!python/name:os.system",
        "!!python/module:evil",
        "!!binary aGVsbG8=",
        "!include /etc/passwd",
    ],
)
def test_a_tag_runs_nothing(tag: str, tmp_path: Path):
    text = f"corpus: {tag.replace('MARK', str(tmp_path / 'mark'))}\nout: x\n"
    assert parsed(tmp_path, text.encode()) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["options.yaml"]


@pytest.mark.parametrize("split", ["{class_path: evil.Options}", "evil.Options", "nested.yaml"])
def test_a_class_that_a_file_names_is_not_imported(split: str, tmp_path: Path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass Options: pass\n")
    (tmp_path / "nested.yaml").write_text("class_path: evil.Options\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert parsed(tmp_path, f"corpus: a\nout: b\nsplit: {split}\n".encode()) is None
    assert "evil" not in sys.modules
    assert not (tmp_path / "mark").exists()


def test_references_that_come_to_a_thousand_million_values_are_refused_at_once(tmp_path: Path):
    (tmp_path / "options.yaml").write_text(BOMB + "corpus: *i\nout: x\n")
    started = time.process_time()
    with pytest.raises(UserError, match="comes to more than"):
        parse_command(episodes, ["--config", str(tmp_path / "options.yaml")])
    assert time.process_time() - started < 5


def test_a_base_that_leads_in_a_circle_is_refused(tmp_path: Path):
    (tmp_path / "options.yaml").write_text("base: options.yaml\ncorpus: a\nout: b\n")
    with pytest.raises(UserError, match="circle"):
        parse_command(episodes, ["--config", str(tmp_path / "options.yaml")])


def test_deep_nesting_is_refused(tmp_path: Path):
    assert parsed(tmp_path, b"corpus: " + b"[" * 20_000) is None
    assert parsed(tmp_path, b"a: &a [*a]\ncorpus: *a\nout: x\n") is None
