from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from perser.cli.main import asked_instead, main, parse_command, run_command
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


def command(corpus: str, out: Path = Path("runs"), loop: Loop = Loop(), rate: float = 0.1) -> None:
    """Do a thing.

    Args:
        corpus: which.
        out: where.
        loop: how often.
        rate: how fast.
    """


def test_options_come_from_the_signature_and_the_first_may_be_bare():
    values = parse_command(command, ["cremad", "--loop.steps", "7", "--out", "here"])
    assert values == {"corpus": "cremad", "out": Path("here"), "loop": Loop(7), "rate": 0.1}


def test_yaml_and_command_line_mix_and_the_command_line_wins(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("corpus: iemocap\nrate: 0.5\nloop:\n  steps: 3\n")
    values = parse_command(command, ["--config", str(config), "--rate", "0.25"])
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
        parse_command(command, arguments)
    assert "\n" not in str(caught.value)


def test_a_misspelled_key_in_yaml_is_named(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("corpus: iemocap\nlooop:\n  steps: 3\n")
    with pytest.raises(UserError, match="looop"):
        parse_command(command, ["--config", str(config)])


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        parse_command(command, ["--config", str(tmp_path / "nowhere.yaml")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "unknown command 'fly'"),
        (["prepare", "nonsense", "--out", "x"], "unknown corpus 'nonsense'"),
        (["prepare", "ravdess", "--root", "/nowhere", "--out", "x"], "/nowhere"),
        (["prepare", "ravdess", "--rooot", "/nowhere", "--out", "x"], "rooot"),
        (["episodes", "--corpus", "/nowhere", "--out", "e.json"], "/nowhere is not a prepared corpus"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("perser: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_hyphens_bare_switches_and_a_bare_yaml_are_understood(tmp_path):
    def switched(corpus: str = "a", allow_skips: bool = False, out_dir: str = "b") -> None:
        """Do."""

    assert parse_command(switched, ["--allow-skips", "--out-dir", "c"])["allow_skips"] is True
    assert parse_command(switched, ["--out-dir=c-d"])["out_dir"] == "c-d"
    config = tmp_path / "run.yaml"
    config.write_text("corpus: b\n")
    assert parse_command(switched, [str(config)])["corpus"] == "b"
    with pytest.raises(UserError, match="'nonsense' is no option"):
        parse_command(switched, ["nonsense"])


def test_a_switch_may_do_something_else_instead(capsys):
    def switched(corpus: str) -> None:
        """Do."""

    def tell() -> None:
        """Tell what there is."""
        print("there is this")

    switched.instead = {"list": tell}
    assert asked_instead(switched, ["--list"]) is tell
    assert asked_instead(switched, ["a"]) is None
    assert parse_command(switched, ["a"]) == {"corpus": "a"}
    with pytest.raises(SystemExit):
        parse_command(switched, ["--help"])
    assert "instead: Tell what there is." in capsys.readouterr().out


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(UserError):
        main(["episodes", "--corpus", "/nowhere", "--out", "e.json", "--debug"])


def test_the_overview_names_every_command_and_loads_nothing_heavy():
    """Within a second on an idle machine; what makes that so is that torch stays unloaded."""
    code = "import sys; from perser.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 30
    assert done.stdout.rstrip().endswith("False")
    for name in ("prepare", "episodes", "pretrain", "meta-train", "icl-train", "bench", "quickstart"):
        assert f"  {name} " in done.stdout


def test_a_file_goes_on_from_its_base_and_wins(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "all.yaml").write_text("corpus: iemocap\nrate: 0.5\nloop:\n  steps: 3\n")
    config = tmp_path / "run.yaml"
    config.write_text("base: base/all.yaml\nrate: 0.25\n")
    for given in (["--config", str(config)], [f"--config={config}"], [str(config)]):
        values = parse_command(command, [*given, "--out", "here"])
        assert values == {"corpus": "iemocap", "out": Path("here"), "loop": Loop(3), "rate": 0.25}


def test_a_base_may_have_one_itself(tmp_path):
    (tmp_path / "far.yaml").write_text("corpus: far\nrate: 0.5\nloop:\n  steps: 3\n")
    (tmp_path / "near.yaml").write_text("base: far.yaml\ncorpus: near\n")
    (tmp_path / "run.yaml").write_text("base: near.yaml\nrate: 0.25\n")
    values = parse_command(command, ["--config", str(tmp_path / "run.yaml"), "--out", "here"])
    assert values == {"corpus": "near", "out": Path("here"), "loop": Loop(3), "rate": 0.25}


@pytest.mark.parametrize(("base", "said"), [("nowhere.yaml", "is not there"), ("run.yaml", "a circle")])
def test_a_base_that_cannot_be_gone_on_from_is_named(base, said, tmp_path):
    (tmp_path / "run.yaml").write_text("base: last.yaml\n")
    config = tmp_path / "last.yaml"
    config.write_text(f"base: {base}\n")
    with pytest.raises(UserError, match=rf"{base}.*{said}"):
        parse_command(command, ["--config", str(config)])


def collect(places: list[Path], names: list[str] = ["one"]) -> None:  # noqa: B006
    """Collect.

    Args:
        places: where from.
        names: what.
    """


def test_a_required_list_may_be_given_one_at_a_time():
    for given in (["--places", "a", "--places", "b"], ["--places=a", "--places=b"], ["--places", "[a, b]"]):
        assert parse_command(collect, given)["places"] == [Path("a"), Path("b")]
    assert parse_command(collect, ["a", "--names", "[two]"]) == {"places": [Path("a")], "names": ["two"]}


@pytest.mark.parametrize("lines", [1, 20_000])
def test_whoever_stops_reading_hears_of_no_fault(lines):
    program = (
        "from perser.cli.main import run_command\n"
        f"def many(lines: int = {lines}) -> None:\n    print('a line of some length\\n' * lines)\n"
        "run_command(many)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        done = subprocess.run([sys.executable, "-c", program], stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("processes", "said"),
    [("2", "another process of this launch has ended: look at what it says"), ("1", "a fault of ours?")],
)
def test_who_waited_for_a_process_that_died_blames_that_one(processes, said, monkeypatch, capsys):
    def wait(seconds: int = 1) -> None:
        """Wait.

        Args:
            seconds: how long.
        """
        raise RuntimeError("[gloo/transport/tcp/pair.cc:554] Connection closed by peer [127.0.0.1]:3")

    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(sys, "argv", ["wait"])
    with pytest.raises(SystemExit) as ended:
        run_command(wait)
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
