"""Every file in configs/ is one that its command takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.experiment import experiment
from perser.cli import parse_command

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_there_are_some():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_taken_whole(path):
    values = parse_command(experiment, ["--config", str(path)])
    assert values["out"] == Path("runs") / path.stem
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values["title"] == content["title"]
    text = path.read_text(encoding="utf-8")
    assert f"--config configs/{path.name}" in text or path.stem == "quickstart"


def test_the_quickstart_file_is_the_embedded_default():
    path = next(path for path in CONFIGS if path.stem == "quickstart")
    assert parse_command(experiment, ["--config", str(path)]) == parse_command(experiment, [])
