from __future__ import annotations

from pathlib import Path

import pytest

from perser.cli.main import parse_command
from perser.errors import UserError


def ask(
    clips: tuple[str, ...] = (),
    profile: Path | None = None,
    enroll: tuple[str, ...] = (),
    as_json: bool = False,
) -> None:
    """Ask.

    Args:
        clips: which.
        profile: whose.
        enroll: what was heard.
        as_json: how.
    """


ask.bare = "clips"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--profile p a.wav b.wav", {"profile": Path("p"), "clips": ("a.wav", "b.wav")}),
        ("a.wav --profile=p b.wav", {"profile": Path("p"), "clips": ("a.wav", "b.wav")}),
        ("--enroll a=x b=y,z -- c.wav", {"enroll": ("a=x", "b=y,z"), "clips": ("c.wav",)}),
        ("--enroll a=x --enroll b=y -- c", {"enroll": ("a=x", "b=y"), "clips": ("c",)}),
        ("--enroll=a=x --as-json c", {"enroll": ("a=x",), "clips": ("c",), "as_json": True}),
        ("--enroll a=x --profile p c", {"enroll": ("a=x",), "profile": Path("p"), "clips": ("c",)}),
        ("--as-json a -- --b -c", {"as_json": True, "clips": ("a", "--b", "-c")}),
        ("--clips a b", {"clips": ("a", "b")}),
        ("", {}),
    ],
)
def test_words_go_where_they_belong(line, said):
    nothing = {"clips": (), "profile": None, "enroll": (), "as_json": False}
    assert parse_command(ask, line.split()) == nothing | said


def test_a_file_may_be_called_anything_that_yaml_could_misread():
    names = ("a, b.wav", "[c].wav", "true", "7", 'say "hm".wav', "d: e.wav", "é.wav")
    assert parse_command(ask, ["--", *names])["clips"] == names


def test_a_misspelled_option_is_named():
    with pytest.raises(UserError, match="profil"):
        parse_command(ask, ["--profil", "p", "a.wav"])
    with pytest.raises(SystemExit):
        parse_command(ask, ["--help"])
