"""perser COMMAND ...: finds its commands by entry point (`perser.commands`) and makes each one's options
from its function's own signature and docstring."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from perser.cli.bare_words import gather_bare
from perser.errors import UserError, one_line

MOST_VALUES = 100_000
"""In a file of options."""

USAGE = "usage: perser COMMAND [--help] [--debug] [--config FILE.yaml] [options]"


def main(arguments: Sequence[str] | None = None) -> None:
    """The `perser` program. Exits with 2 and one line on bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = {entry.name: entry for entry in entry_points(group="perser.commands")}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(commands))
        return
    name, *rest = arguments
    if name not in commands:
        _fail(f"unknown command '{name}': one of {', '.join(sorted(commands))}")
    _run(lambda: commands[name].load(), rest, f"perser {name}")


def run_command(function: Callable[..., None]) -> None:
    """Run one command's function on the process's arguments: the body of `python -m package.module`."""
    _run(lambda: function, sys.argv[1:], f"python -m {_module_name(function)}")


def parse_command(
    function: Callable[..., None], arguments: Sequence[str], program: str = "perser"
) -> dict[str, Any]:
    """The function's arguments from options and `--config` YAML, types and names checked.

    Raises UserError that names the key.
    """
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

    set_parsing_settings(import_path_denylist=["*"])  # else a file could name a module to be imported
    if bare := getattr(function, "bare", None):  # its list that takes words without an option's name
        arguments = gather_bare(arguments, inspect.signature(function), bare)
    parser = ArgumentParser(
        prog=program, description=_first_paragraph(function), exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_argument("--base", help="in such a file: another one, relative to it, that it goes on from")
    for name, answer in _instead(function).items():
        parser.add_argument(f"--{name}", action="store_true", help=f"instead: {_first_paragraph(answer)}")
    add_arguments = getattr(function, "add_arguments", None)  # a command made of other commands' options
    if add_arguments is not None:
        add_arguments(parser)
    else:
        parser.add_function_arguments(function, as_positional=False, sub_configs=True, fail_untyped=True)
    try:
        values = parser.instantiate(parser.parse_args(_with_bases(_named(function, list(arguments)))))
    except (ArgumentError, ValueError, TypeError, RecursionError) as error:
        raise UserError(_one_line(error)) from error
    for name in ("config", "base", *_instead(function)):
        values.pop(name, None)
    return dict(values.as_dict() if hasattr(values, "as_dict") else values)


def _named(function: Callable[..., None], arguments: list[str]) -> list[str]:
    """Options as the parser spells them: a bare first word is the command's first required argument
    (`prepare cremad`) or a YAML file of options, a hyphen in a name is an underscore, a switch without a
    value is switched on, and a required list can be given one `--name value` at a time."""
    parameters = inspect.signature(function).parameters
    first = next(iter(parameters.values()))
    if arguments and not arguments[0].startswith("-"):
        if arguments[0].endswith((".yaml", ".yml")):
            arguments = ["--config", *arguments]
        elif first.default is first.empty and not hasattr(function, "add_arguments"):
            arguments = [f"--{first.name}", *arguments]
        else:
            raise UserError(f"'{arguments[0]}' is no option: every option has a name (see --help)")
    switches = {name for name, one in parameters.items() if isinstance(one.default, bool)}
    required = [name for name, one in parameters.items() if one.default is one.empty]
    lists = {name for name in required if str(parameters[name].annotation).startswith("list[")}
    spelled = []
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = f"--{name[2:].replace('-', '_')}"
            name += "+" * (name[2:] in lists)  # the parser's sign for one more
        spelled.append(name + equals + value)
        alone = place + 1 == len(arguments) or arguments[place + 1].startswith("--")
        if name[2:] in switches and not equals and alone:
            spelled[-1] = f"{name}=true"
    return spelled


def _with_bases(arguments: list[str]) -> list[str]:
    """The same, with the files that a `--config` file goes on from (its `base`, relative to it, and its
    base's) before it: what the file itself says wins."""
    found: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--config":
            found += [one for base in _bases(Path(argument)) for one in (str(base), "--config")]
        elif argument.startswith("--config="):
            found += [f"--config={base}" for base in _bases(Path(argument.partition("=")[2]))]
        found.append(argument)
    return found


def _bases(config: Path) -> list[Path]:
    """The files that this one goes on from, the furthest first. Raises UserError where one is not there, or
    they go round in a circle."""
    found = [config]
    while (named := _options_in(found[0]).get("base")) is not None:
        base = found[0].parent / str(named)
        if not base.is_file():
            raise UserError(f"{found[0]}: its base {base} is not there")
        if any(base.samefile(one) for one in found):
            raise UserError(f"{found[0]}: its base {base} goes on from it: that is a circle")
        found.insert(0, base)
    return found[:-1]


def _options_in(config: Path) -> dict[str, Any]:
    """What a file of options says; nothing where it is none, of which the parser says what is wrong. Raises
    UserError for one that a parser should not be given."""
    import yaml

    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    except RecursionError:
        raise UserError(f"{config} is nested too deep: is it a file of options?") from None
    if _size(content, {}) > MOST_VALUES:
        raise UserError(f"{config} comes to more than {MOST_VALUES} values: is it a file of options?")
    return content if isinstance(content, dict) else {}


def _size(content: object, known: dict[int, int]) -> int:
    """How many values a YAML file comes to once its references are written out: nine lines can name a
    thousand million. `known`: of the parts that were counted, by their id."""
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in known:
        known[id(content)] = MOST_VALUES  # of a part that holds itself
        inside = [*content, *content.values()] if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(one, known) for one in inside)
    return known[id(content)]


def asked_instead(function: Callable[..., None], arguments: Sequence[str]) -> Callable[[], None] | None:
    """What a switch such as `prepare --list` does instead of the command; none of them is among the
    arguments: None."""
    asked = (answer for name, answer in _instead(function).items() if f"--{name}" in arguments)
    return next(asked, None)


def _instead(function: Callable[..., None]) -> dict[str, Callable[[], None]]:
    """A command's switches that do something else instead, by name."""
    return getattr(function, "instead", {})


def _run(load: Callable[[], Callable[..., None]], arguments: Sequence[str], program: str) -> None:
    debug = "--debug" in arguments
    try:
        function = load()
        if instead := asked_instead(function, arguments):
            instead()
        else:
            function(**parse_command(function, [one for one in arguments if one != "--debug"], program))
        sys.stdout.flush()
    except BrokenPipeError as error:  # whoever read what is printed, such as `head`, has ended
        if debug:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to be flushed
        raise SystemExit(141) from error  # as of a program that SIGPIPE ends
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
        detail = _one_line(error)
        if _is_of_another_process(detail):
            _fail("another process of this launch has ended: look at what it says", status=1)
        _fail(f"{type(error).__name__}: {detail} (a fault of ours? --debug shows where)", status=1)


def _is_of_another_process(detail: str) -> bool:
    """Whether an error is what is left of a process that this one waited for, as gloo and NCCL put it."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    return (
        launched > 1
        and re.search("(closed|reset) by (remote )?peer|remote process exited", detail) is not None
    )


def _overview(commands: dict[str, EntryPoint]) -> str:
    width = max(map(len, commands), default=0)
    rows = [f"  {name:<{width}}  {_summary(commands[name])}" for name in sorted(commands)]
    return "\n".join([USAGE, "", "commands:", *rows, "", "perser COMMAND --help tells a command's options."])


def _summary(entry: EntryPoint) -> str:
    """First line of the command function's docstring, read without importing its module (which may
    import torch: the overview answers at once)."""
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _first_paragraph(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").strip().partition("\n\n")[0]


def _module_name(function: Callable[..., None]) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else function.__module__


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str, status: int = 2) -> None:
    print(f"perser: error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
