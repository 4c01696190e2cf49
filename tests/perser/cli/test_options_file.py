"""A file of options may change another one, its base."""

from __future__ import annotations

from pathlib import Path

import pytest

from perser.cli.options.file import read_options
from perser.cli.parser import parse_command
from perser.errors import UserError

from .test_parser import Loop, run


def test_a_file_changes_its_base(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "all.yaml").write_text("corpus: iemocap\nrate: 0.5\nloop:\n  steps: 3\n")
    config = tmp_path / "run.yaml"
    config.write_text("base: base/all.yaml\nrate: 0.25\n")
    for options in (["--config", str(config)], [f"--config={config}"], [str(config)]):
        values = parse_command(run, [*options, "--out", "here"])
        assert values == {"corpus": "iemocap", "out": Path("here"), "loop": Loop(3), "rate": 0.25}


def test_a_base_may_have_a_base(tmp_path):
    (tmp_path / "far.yaml").write_text("corpus: far\nrate: 0.5\nloop:\n  steps: 3\n")
    (tmp_path / "near.yaml").write_text("base: far.yaml\ncorpus: near\n")
    (tmp_path / "run.yaml").write_text("base: near.yaml\nrate: 0.25\n")
    values = parse_command(run, ["--config", str(tmp_path / "run.yaml"), "--out", "here"])
    assert values == {"corpus": "near", "out": Path("here"), "loop": Loop(3), "rate": 0.25}


@pytest.mark.parametrize(("base", "message"), [("nowhere.yaml", "is not there"), ("run.yaml", "a circle")])
def test_a_base_that_cannot_be_used_is_named(base, message, tmp_path):
    (tmp_path / "run.yaml").write_text("base: last.yaml\n")
    config = tmp_path / "last.yaml"
    config.write_text(f"base: {base}\n")
    with pytest.raises(UserError, match=rf"{base}.*{message}"):
        parse_command(run, ["--config", str(config)])


def test_a_mistyped_file_of_options_is_answered_with_the_nearest_one(tmp_path):
    (tmp_path / "cremad_listeners.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match=r"did you mean .*cremad_listeners\.yaml\?\): give a YAML file"):
        read_options(tmp_path / "cremad_listners.yaml")
