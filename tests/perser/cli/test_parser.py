"""Options from a function's signature, from YAML files and from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from perser.cli.command import Command
from perser.cli.parser import parse_command
from perser.errors import UserError


@dataclass(frozen=True)
class Loop:
    """A loop.

    Args:
        steps: how many.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"loop.steps: {self.steps}, give at least 1")


def run(corpus: str, out: Path = Path("runs"), loop: Loop = Loop(), rate: float = 0.1) -> None:
    """Run a toy.

    Args:
        corpus: which.
        out: where.
        loop: how often.
        rate: how fast.
    """


def test_options_come_from_the_signature_and_the_first_needs_no_name():
    values = parse_command(run, ["cremad", "--loop.steps", "7", "--out", "here"])
    assert values == {"corpus": "cremad", "out": Path("here"), "loop": Loop(7), "rate": 0.1}


def test_yaml_and_command_line_mix_and_the_command_line_wins(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("corpus: iemocap\nrate: 0.5\nloop:\n  steps: 3\n")
    values = parse_command(run, ["--config", str(config), "--rate", "0.25"])
    assert (values["corpus"], values["rate"], values["loop"]) == ("iemocap", 0.25, Loop(3))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cremad", "--rat", "1"], "rat"),
        (["cremad", "--rate", "fast"], "rate"),
        (["cremad", "--loop.stepz", "3"], "stepz"),
        (["cremad", "--loop.steps", "0"], "loop.steps"),
        ([], "corpus"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(arguments, named):
    with pytest.raises(UserError, match=named) as caught:
        parse_command(run, arguments)
    assert "\n" not in str(caught.value)


def test_a_misspelled_key_in_yaml_is_named(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("corpus: iemocap\nlooop:\n  steps: 3\n")
    with pytest.raises(UserError, match="looop"):
        parse_command(run, ["--config", str(config)])


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        parse_command(run, ["--config", str(tmp_path / "nowhere.yaml")])


def test_hyphens_switches_without_a_value_and_a_yaml_file_without_a_name_are_understood(tmp_path):
    def switched(corpus: str = "a", allow_skips: bool = False, out_dir: str = "b") -> None:
        """Do."""

    assert parse_command(switched, ["--allow-skips", "--out-dir", "c"])["allow_skips"] is True
    assert parse_command(switched, ["--allow-skips", "true"])["allow_skips"] is True
    assert parse_command(switched, ["--allow-skips=false"])["allow_skips"] is False
    assert parse_command(switched, ["--out-dir=c-d"])["out_dir"] == "c-d"
    config = tmp_path / "run.yaml"
    config.write_text("corpus: b\n")
    assert parse_command(switched, [str(config)])["corpus"] == "b"
    with pytest.raises(UserError, match="'nonsense' is no option"):
        parse_command(switched, ["nonsense"])


def test_a_switch_is_in_the_help_and_not_among_the_values(capsys):
    def switched(corpus: str) -> None:
        """Do."""

    def show() -> None:
        """Show what there is."""

    command = Command(switched, switches={"list": show})
    assert command.requested_switch(["--list"]) is show
    assert command.requested_switch(["a"]) is None
    assert parse_command(command, ["a"]) == {"corpus": "a"}
    with pytest.raises(SystemExit):
        parse_command(command, ["--help"])
    assert "Show what there is. Then exit." in capsys.readouterr().out


def test_a_command_may_add_its_options_itself():
    def anything(**options: object) -> None:
        """Do anything."""

    command = Command(
        anything, add_arguments=lambda parser: parser.add_argument("--a.b", type=int, default=1)
    )
    assert parse_command(command, ["--a.b", "3"]) == {"a": {"b": 3}}
    with pytest.raises(UserError, match="'nonsense' is no option"):
        parse_command(command, ["nonsense"])


def collect(places: list[Path], names: list[str] = ["one"]) -> None:  # noqa: B006
    """Collect.

    Args:
        places: where from.
        names: what.
    """


def test_a_required_list_may_be_given_one_value_at_a_time():
    for options in (
        ["--places", "a", "--places", "b"],
        ["--places=a", "--places=b"],
        ["--places", "[a, b]"],
        ["--places", "a", "b"],
        ["a", "b"],
    ):
        assert parse_command(collect, options)["places"] == [Path("a"), Path("b")]
    assert parse_command(collect, ["a", "--names", "[two]"]) == {"places": [Path("a")], "names": ["two"]}


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


ASK = Command(ask, positional="clips", lists=("enroll",))


@pytest.mark.parametrize(
    ("line", "expected"),
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
def test_words_without_a_name_and_lists_of_words(line, expected):
    nothing = {"clips": (), "profile": None, "enroll": (), "as_json": False}
    assert parse_command(ASK, line.split()) == nothing | expected


def test_a_list_of_words_may_stand_in_a_file(tmp_path):
    (tmp_path / "run.yaml").write_text("clips: [a, b]\nenroll: [a=x]\n")
    values = parse_command(ASK, ["--config", str(tmp_path / "run.yaml")])
    assert (values["clips"], values["enroll"]) == (("a", "b"), ("a=x",))


def test_file_names_that_yaml_would_read_otherwise_are_taken_as_they_are():
    names = ("a, b.wav", "[c].wav", "true", "7", 'say "hm".wav', "d: e.wav", "é.wav")
    assert parse_command(ASK, ["--", *names])["clips"] == names


def test_a_misspelled_option_is_named_and_help_shows_the_lists(capsys):
    with pytest.raises(UserError, match=r"--profil is no option: did you mean --profile\?"):
        parse_command(ASK, ["--profil", "p", "a.wav"])
    with pytest.raises(SystemExit):
        parse_command(ASK, ["--help"])
    assert "what was heard" in capsys.readouterr().out


def test_a_plus_appends_to_a_list():
    def measure(methods: list[str] = []) -> None:  # noqa: B006
        """Measure."""

    assert parse_command(measure, ["--methods", "[a, b]", "--methods+", "[c]"])["methods"] == ["a", "b", "c"]


def test_arguments_win_over_a_file_wherever_the_file_is_named(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("corpus: iemocap\nrate: 0.5\n")
    values = parse_command(run, ["--rate", "0.25", "--config", str(config)])
    assert (values["corpus"], values["rate"]) == ("iemocap", 0.25)


def test_a_wrong_value_of_a_switch_is_named():
    def train(fast: bool = False) -> None:
        """Train."""

    assert parse_command(train, ["--fast"]) == {"fast": True}
    with pytest.raises(UserError, match="fast"):
        parse_command(train, ["--fast", "1"])


def test_one_word_in_a_file_stands_for_a_list_of_one(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("clips: a.wav\n")
    assert parse_command(ASK, ["--config", str(config)])["clips"] == ("a.wav",)


def test_the_home_folder_is_found_behind_an_equals_sign_and_in_files(tmp_path, monkeypatch):
    """Shells do not replace `~` there, and a folder of that name would be made."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("out: ~/runs\n")
    for words in (["--out=~/runs"], ["--config", "run.yaml"]):
        assert parse_command(run, ["--corpus", "x", *words])["out"] == tmp_path / "home" / "runs"
    assert parse_command(run, ["--corpus", "x", "--out=~runs"])["out"] == Path("~runs")
