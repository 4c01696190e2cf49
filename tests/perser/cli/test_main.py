"""The `perser` program: its commands, its exit statuses and its errors."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points, version

import pytest

from perser.cli import main as program
from perser.cli.command import Command, examples, first_paragraph
from perser.cli.main import main, run_command
from perser.errors import UserError


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


TRAINING = "--corpus a --episodes b --out c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predit", "did you mean 'predict'?"),
        ("prepare CREMA-D --out x", "did you mean 'cremad'?"),
        ("bench --methods entire-fw --corpus a --episodes b --models c", "did you mean 'entire-few'?"),
        ("experiment --prepare.corpus simulated --bench.methods metaperser", "did you mean 'meta-perser'?"),
        (f"meta-train --scope al --ssl_e d {TRAINING}", "did you mean all?"),
        (f"pretrain --scope top_layer:2 {TRAINING}", "did you mean top_layers:N?"),
        (f"pretrain --encoder tiny-wav2vec {TRAINING}", "did you mean 'tiny-wav2vec2'?"),
        (f"icl-train --encoder tiny-wisper {TRAINING}", "did you mean 'tiny-whisper'?"),
        (f"icl-train --language_model tiny-lama {TRAINING}", "did you mean tiny-llama?"),
        ("predict a.wav --model runs/modells/ssl-e", "did you mean runs/models/ssl-e?"),
        ("episodes --corpus corpora/cremat --out e.json", "did you mean corpora/cremad?"),
        ("predict a.wav --profile alic.profile", "did you mean alice.profile?"),
    ],
)
def test_the_nearest_right_word_is_named(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/models/ssl-e", "corpora/cremad"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "alice.profile").touch()
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_program_alone_shows_three_uses_before_its_commands(capsys):
    main([])
    shown = capsys.readouterr().out
    uses, _, commands = shown.partition("\ncommands:\n")
    assert uses.count("\n  perser ") >= 3
    assert all(f"perser {name} " in uses for name in ("enroll", "predict", "experiment", "meta-train"))
    assert "  enroll " in commands


def test_an_example_that_is_continued_can_be_copied_into_a_shell():
    def greet() -> None:
        """Greet.

        Examples:
            perser greet --name Alice
                --politely
            perser greet

        More text.
        """

    assert examples(greet) == ("perser greet --name Alice \\\n    --politely", "perser greet")
    assert examples(main) == ()


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_printed(option, capsys):
    main([option])
    assert capsys.readouterr().out == f"perser {version('perser')}\n"


def test_help_is_a_command_too(capsys):
    main(["--help"])
    overview = capsys.readouterr().out
    main(["help"])
    assert capsys.readouterr().out == overview
    helped = []
    for words in (["episodes", "--help"], ["help", "episodes"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 0
        helped.append(capsys.readouterr().out)
    assert helped[0] == helped[1]
    with pytest.raises(SystemExit):
        main(["help", "predit"])
    assert "did you mean 'predict'?" in capsys.readouterr().err


def test_a_switch_does_something_else_instead(monkeypatch, capsys):
    def switched(corpus: str) -> None:
        """Do."""

    def show() -> None:
        """Show what there is."""
        print("there is this")

    monkeypatch.setattr(sys, "argv", ["switched", "--list"])
    run_command(Command(switched, switches={"list": show}))
    assert capsys.readouterr().out == "there is this\n"


def test_an_entry_point_may_name_a_function_or_a_command(monkeypatch, capsys):
    (episodes,) = entry_points(group="perser.commands", name="episodes")
    (prepare,) = entry_points(group="perser.commands", name="prepare")
    assert callable(episodes.load())
    assert isinstance(prepare.load(), Command)
    main(["prepare", "--list"])
    assert "cremad" in capsys.readouterr().out


@pytest.mark.parametrize("entry", entry_points(group="perser.commands"), ids=lambda entry: entry.name)
def test_the_overview_has_the_first_line_of_every_docstring(entry: EntryPoint):
    loaded = entry.load()
    function = loaded.function if isinstance(loaded, Command) else loaded
    summary = program._summary(entry)
    assert summary
    assert first_paragraph(function).startswith(summary)


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(UserError):
        main(["episodes", "--corpus", "/nowhere", "--out", "e.json", "--debug"])


def test_the_overview_names_every_command_and_loads_nothing_heavy():
    """Within a second on an idle machine; what makes that so is that torch stays unloaded."""
    code = (
        "import sys, time; from perser.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    )
    code += "; print(time.process_time())"  # on a busy machine it would wait for its turn
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, torch_is_loaded, seconds = done.stdout.split()
    assert float(seconds) < 10
    assert torch_is_loaded == "False"
    for name in ("prepare", "episodes", "pretrain", "meta-train", "icl-train", "bench", "quickstart"):
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("lines", [1, 20_000])
def test_a_closed_pipe_ends_the_program_quietly(lines):
    program = (
        "from perser.cli.main import run_command\n"
        f"def many(lines: int = {lines}) -> None:\n    print('a line of some length\\n' * lines)\n"
        "run_command(many)"
    )
    assert _run_with_closed_pipe(program) == (141, b"")


@pytest.mark.parametrize("word", ["--help", "help", "--version"])
def test_a_closed_pipe_ends_the_overview_quietly(word):
    assert _run_with_closed_pipe(f"from perser.cli.main import main\nmain([{word!r}])") == (141, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_output_that_has_no_room_is_an_error_and_closed_output_is_none():
    program = "from perser.cli.main import main\nmain(['--help'])"
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    problem = "cannot write the output (No space left on device)"
    assert done.stderr == f"perser: error: {problem}: free some space, or write elsewhere\n"
    command = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def _run_with_closed_pipe(program):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run([sys.executable, "-c", program], stdout=closed, stderr=subprocess.PIPE)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("processes", "message"),
    [("2", "another process of this launch has ended: look at its output"), ("1", "a bug in perser?")],
)
def test_a_lost_process_is_named_as_the_cause_by_those_that_waited_for_it(
    processes, message, monkeypatch, capsys
):
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
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "in TMPDIR (--debug shows"),
        (MemoryError(), "MemoryError: free some memory"),
        (OSError(24, "Too many open files"), "Too many open files: let this program read it"),
    ],
)
def test_what_the_system_refuses_is_not_called_a_bug(error, message, monkeypatch, capsys):
    def run(seconds: int = 1) -> None:
        """Run.

        Args:
            seconds: how long.
        """
        raise error

    monkeypatch.setattr(sys, "argv", ["run"])
    with pytest.raises(SystemExit) as ended:
        run_command(run)
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "a bug" not in printed


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        (
            'rmdir "$PWD"; "$0" -m perser.cli models .',
            "the working folder is gone: change to another one (cd)",
        ),
        ('"$0" -OO -m perser.cli models .', "Python leaves docstrings out (-OO or PYTHONOPTIMIZE=2)"),
    ],
)
def test_where_nothing_could_run_one_line_says_why(shell, message, tmp_path):
    (tmp_path / "here").mkdir()
    command = ["sh", "-c", shell, sys.executable]
    done = subprocess.run(command, cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"perser: error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("chosen", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_environment_says_otherwise(chosen, found, monkeypatch, capsys):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    main(["--help"])
    assert os.environ["OMP_WAIT_POLICY"] == found


def test_openmp_is_told_so_before_torch_is_imported():
    """OpenMP reads its variables once, when it is loaded."""
    code = (
        "import os, sys; from perser.cli.main import main; main(['--help']);"
        "assert 'torch' not in sys.modules and os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0


def test_help_about_help_lists_the_commands(capsys):
    main(["help", "help"])
    assert capsys.readouterr().out.startswith("usage: perser COMMAND")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "--check"], "--check has no value: give what it is about, as in `--check FOLDER`"),
        (["prepare", "--check=nowhere"], "nowhere is not a prepared corpus"),
        (["prepare", "--list=3"], "--list takes no value"),
        (["models", "file"], "folder: file is a file: give a folder"),
        (["predict", "a.wav", "--model", "file"], "no model 'file': it is a file, give the model's folder"),
        (["predict", "a.wav", "--profile", "folder"], "folder is a folder: give the profile"),
        (["bench", "--corpus=c", "--episodes=folder", "--models=m"], "cannot read folder (a folder): give"),
        (["bench", "--corpus=c", "--episodes=gone", "--methods=random"], "gone is not there"),
        (["bench", "--corpus=c", "--episodes=gone", "--methods=meta-perser"], "no --models"),
    ],
)
def test_a_place_of_the_wrong_kind_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, message in line) == (2, True)


@pytest.mark.parametrize(
    ("words", "files", "folders"),
    [
        ("episodes --corpus c", ["out"], []),
        ("enroll --model m --examples e", ["out"], []),
        ("serve --model m", [], ["profiles"]),
        ("experiment --prepare.corpus simulated", [], ["out", "cache"]),
        ("ceiling --corpus c", ["json"], ["out"]),
        ("export --model m", [], ["out"]),
        ("prepare simulated", [], ["out"]),
        ("quickstart", [], ["out"]),
        ("dynamic-superb --model m --instance i", [], ["out"]),
        ("bench --corpus c --episodes e --models m", [], ["out", "cache"]),
        ("icl-controls --corpus c --episodes e --models m --out new", [], ["out", "cache"]),
        ("pretrain --corpus c --episodes e --out new", [], ["out", "cache"]),
        ("meta-train --corpus c --episodes e --ssl-e s --out new", [], ["out", "cache"]),
        ("icl-train --corpus c --episodes e --out new", [], ["out", "cache"]),
    ],
)
def test_each_output_that_cannot_be_written_is_named_before_anything_else(
    words, files, folders, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    cases = [(name, "folder", f"{name}: folder is a folder: give the name of a file") for name in files]
    cases += [(name, "file", f"{name}: file is a file: give a folder") for name in folders]
    cases += [(name, "file/x", f"{name}: cannot write file/x") for name in (*files, *folders)]
    for name, place, message in cases:
        with pytest.raises(SystemExit) as ended:
            main([*words.split(), f"--{name}={place}"])
        (line,) = capsys.readouterr().err.splitlines()
        assert (ended.value.code, message in line) == (2, True), line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"
