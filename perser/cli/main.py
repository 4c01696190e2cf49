"""Run the `perser` program: find a command by its entry point (`perser.commands`), run it, and report errors
in one line and an exit status."""

from __future__ import annotations

import ast
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version
from inspect import signature
from pathlib import Path

from perser.cli.command import COMMANDS, Command, as_command, function_of
from perser.cli.parser import PROCESSES, parse_command
from perser.errors import UserError, advice_without_damage, one_line, reason_and_advice, unknown
from perser.io.terminal import accept_any_text, replace_closed_streams
from perser.training.launch import check_processes, is_launched, launch, let_first_process_speak

USAGE = "usage: perser COMMAND [--help] [--debug] [--config FILE.yaml] [options]"

USES = """\
Learn one person from a few clips that they labeled, and label other clips as they would:
  perser enroll --model starter-icl --examples alice.csv --out alice.profile
  perser predict --profile alice.profile clip.wav

Compare methods on the same episodes, from a corpus to a report:
  perser experiment --config configs/cremad_listeners.yaml

Train a model, on a CPU or on several GPUs of this machine:
  perser meta-train --corpus runs/mine/corpus --episodes runs/mine/episodes.json \\
      --ssl_e runs/mine/models/ssl-e --out runs/mine/models/meta-perser --processes 8

The models starter-icl and starter come with perser. Without any recordings, `perser quickstart` trains small
models on simulated speech, in about four minutes."""


_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Numbers of the errors of a file that may not grow."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `perser` program. Exits with 2 and one line on bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _let_waiting_threads_sleep()
    commands = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    if arguments[:1] == ["help"]:  # `help predict` means `predict --help`
        arguments = [*(word for word in arguments[1:2] if word != "help"), "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "-V", "--version"):
        with _errors_in_one_line(debug=False):
            is_version = arguments[:1] in (["-V"], ["--version"])
            print(f"perser {version('perser')}" if is_version else _overview(commands))
        return
    name, *rest = arguments
    if name not in commands:
        _fail(str(unknown("command", name, [*sorted(commands), "help", "--help", "--version"])))
    _run(lambda: commands[name].load(), rest, f"perser {name}")


def run_command(command: Command | Callable[..., None]) -> None:
    """Run a command on the process's arguments: what `python -m package.module` does."""
    _run(lambda: command, sys.argv[1:], f"python -m {_module_name(as_command(command))}")


def _run(load: Callable[[], Command | Callable[..., None]], arguments: Sequence[str], program: str) -> None:
    accept_any_text()
    with _errors_in_one_line(debug="--debug" in arguments):
        _check_surroundings()
        command = as_command(load())
        options = [word for word in arguments if word != "--debug"]
        if switch := command.requested_switch(arguments):
            options = _options_of_switch(command, switch, options)
            command = Command(switch)
        values = parse_command(command, options, program)
        if command.processes:
            processes = check_processes(values.pop(PROCESSES))
            if processes > 1 and not is_launched():
                launch(_module_of(command), arguments, processes)
                return
        command.function(**values)
        if is_launched():
            from perser.distributed import end_launched_process  # imports torch, as a launched command has

            end_launched_process()


def _check_surroundings() -> None:
    """Raise UserError where nothing could run, and libraries would end the program in words of their own."""
    if sys.flags.optimize > 1:
        raise UserError(
            "Python leaves docstrings out (-OO or PYTHONOPTIMIZE=2), which options and transformers are made "
            "from: run it without that"
        )
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the working folder is gone: change to another one (cd)") from None


def _options_of_switch(command: Command, switch: Callable[..., None], arguments: Sequence[str]) -> list[str]:
    """Return the options of what a switch does: `--check FOLDER` and `--check=FOLDER` give it the folder.

    Raises UserError where it needs a value and gets none, or gets one and takes none.
    """
    takes_options, options = bool(signature(switch).parameters), []
    for word in arguments:
        name, equals, value = word.partition("=")
        if name.removeprefix("--") not in command.switches or not name.startswith("--"):
            options.append(word)
        elif equals and not takes_options:
            raise UserError(f"{word}: {name} takes no value, leave '={value}' out")
        else:
            options += [value] if equals else []
    if takes_options and not options:
        name = next(name for name, action in command.switches.items() if action is switch)
        raise UserError(f"--{name} has no value: give what it is about, as in `--{name} FOLDER` (see --help)")
    return options if takes_options else []


@contextmanager
def _errors_in_one_line(debug: bool) -> Iterator[None]:
    """Print an error of the block as one line and exit with its status; with `debug`, let it through."""
    replace_closed_streams()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:  # the program that reads our output, such as `head`, has ended
        if debug:
            raise
        _discard_output()
        raise SystemExit(141) from error  # the status of a program that SIGPIPE ends
    except UserError as error:
        if debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        print("perser: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            if error.filename is None:
                _discard_output()
            where = error.filename or "the output"
            _fail(f"cannot write {where} ({error.strerror}): free some space, or write elsewhere", status=1)
        detail = " ".join(str(error).split()) or type(error).__name__
        if _lost_other_process(detail):
            _fail("another process of this launch has ended: look at its output", status=1)
        if advice_without_damage(error):
            _fail(f"{reason_and_advice(error)} (--debug shows where)", status=1)
        _fail(f"{type(error).__name__}: {detail} (a bug in perser? --debug shows where)", status=1)


def _discard_output() -> None:
    """Let what is still to be flushed disappear, which cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _let_waiting_threads_sleep() -> None:
    """Tell OpenMP that a thread which waits for the others sleeps, unless the environment says otherwise.

    By default it keeps its core busy. On a machine with other work, the threads then take each other's time,
    and everything takes several times as long. OpenMP reads this when torch is imported, which is later.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _lost_other_process(detail: str) -> bool:
    """Whether an error says, in the words of gloo and NCCL, that a process this one waited for has ended."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    return (
        launched > 1
        and re.search("(closed|reset) by (remote )?peer|remote process exited", detail) is not None
    )


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max(map(len, commands), default=0)
    rows = [f"  {name:<{width}}  {_summary(commands[name])}" for name in sorted(commands)]
    return "\n".join(
        [
            USAGE,
            "",
            USES,
            "",
            "commands:",
            *rows,
            "",
            "perser COMMAND --help begins with an example and explains the options.",
        ]
    )


def _summary(entry: EntryPoint) -> str:
    """Return the first line of the docstring of a command's function."""
    function = function_of(entry)
    return "" if function is None else (ast.get_docstring(function) or "").partition("\n")[0]


def _module_of(command: Command) -> str:
    """Return the module that runs the command with `python -m`."""
    module = command.function.__module__
    return _module_name(command) if module == "__main__" else module


def _module_name(command: Command) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else command.function.__module__


def _fail(message: str, status: int = 2) -> None:
    let_first_process_speak()
    print(f"perser: error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
