"""The help of a command is in plain words: no Python types, and each default as one would type it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from perser.cli.parser import parse_command


@dataclass(frozen=True)
class Part:
    """the part.

    Args:
        width: how wide.
    """

    width: float = 0.5


def made(
    folder: Path,
    count: int | None = None,
    names: list[str] | None = None,
    files: list[Path] = [],  # noqa: B006
    loud: bool = False,
    mode: Literal["fast", "slow"] = "fast",
    title: str = "",
    part: Part = Part(),
) -> None:
    """Make something.

    Args:
        folder: where it goes.
        count: how many.
        names: which ones.
        files: of what.
        loud: with sound.
        mode: how.
        title: its heading.
        part: a part.
    """


@pytest.fixture
def shown(capsys) -> str:
    with pytest.raises(SystemExit):
        parse_command(made, ["--help"], "perser made")
    return " ".join(capsys.readouterr().out.split())


def test_types_are_said_in_words(shown):
    for text in (
        "where it goes. (required, a file or folder)",
        "how many. (a whole number, default: none)",
        "which ones. (a list such as [a, b], default: none)",
        "of what. (a list such as [a, b], default: none)",
        "how wide. (a number, default: 0.5)",
    ):
        assert text in shown
    for python in ("type:", "class '", "Union", "Optional", "Literal", "null", "None", "False"):
        assert python not in shown


def test_choices_are_said_once(shown):
    assert "--mode {fast,slow} how. (default: fast)" in shown
    assert "--files FILES, --files+ FILES of what." in shown
    assert "--loud {true,false} with sound. (default: false)" in shown


def test_the_parsers_own_options_are_explained(shown):
    assert "Print these options as a YAML file and exit." in shown
    assert "Path to a configuration file" not in shown
    assert "options of perser made:" in shown
    assert shown.count("Make something") == 1
    assert "--part CONFIG a YAML file of these options" in shown
    assert "its heading. (default: empty)" in shown
