"""Make a command's options from its function's signature and docstring, and parse them from arguments and
YAML files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.cli.command import Command, as_command, examples, first_paragraph
from perser.cli.options.file import read_options, with_bases
from perser.cli.options.names import OptionNames
from perser.cli.options.types import as_list, explain, is_list_item, is_nothing, option_types, refuse_nothing
from perser.errors import UserError, is_unicode
from perser.io.listed_paths import named_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

CONFIG = "config"
BASE = "base"
PARSERS_OWN = ("help", "print_config")
"""Options that jsonargparse adds by itself."""
PROCESSES = "processes"
PROCESSES_HELP = """how many processes of this machine work together, one on each GPU, or on the CPU where
there is no GPU; several machines need accelerate launch or torchrun"""
BOOLEANS = ("true", "false", "yes", "no", "on", "off")
"""What a word behind a switch has to be to count as its value."""


def parse_command(
    command: Command | Callable[..., None], arguments: Sequence[str], program: str = "perser"
) -> dict[str, Any]:
    """Return the arguments for a command's function, their names and types checked.

    They come from options and from YAML files (`--config`); options win. For a command that several processes
    can run, how many these are is among them (`PROCESSES`). Raises UserError, which names the option.
    """
    command = as_command(command)
    arguments = _name_first(command, list(arguments))
    required = [
        name for name, parameter in command.parameters.items() if parameter.default is parameter.empty
    ]
    appended = [name for name in required if str(command.parameters[name].annotation).startswith("list[")]

    def add_options(parser: ArgumentParser) -> None:
        for name, action in command.switches.items():
            parser.add_argument(
                f"--{name}", action="store_true", help=f"{first_paragraph(action)} Then exit."
            )
        if command.processes:
            parser.add_argument(f"--{PROCESSES}", type=int, default=1, help=PROCESSES_HELP)
        if command.add_arguments is not None:
            command.add_arguments(parser)
        else:
            _add_parameters(parser, command)

    values = parse_options(
        add_options,
        arguments,
        program,
        first_paragraph(command.function),
        appended,
        is_word=None if command.positional is None else command.is_word,
        examples=examples(command.function),
    )
    for name in command.switches:
        values.pop(name)
    return values | {name: tuple(values[name]) for name in command.word_lists}


def parse_options(
    add_options: Callable[[ArgumentParser], None],
    arguments: Sequence[str],
    program: str = "perser",
    description: str = "",
    appended: Sequence[str] = (),
    is_word: Callable[[str], bool] | None = None,
    examples: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the values of the options that `add_options` adds to a parser.

    Files of options come first, so that the other arguments win.

    Args:
        add_options: adds them.
        arguments: of the command line.
        program: name in the help.
        description: text in the help.
        appended: options that may be repeated, `--name A --name B`, to give a list one value at a time.
        is_word: whether a text can be a word without a name, such as a clip; None where the command takes
            no such words.
        examples: commands with which the help begins.

    Raises UserError, which names the option.
    """
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings
    from jsonargparse.typing import register_type

    from perser.cli.options.help import OPTIONS_FILE, PlainHelp, use_plain_names

    set_parsing_settings(import_path_denylist=["*"])  # otherwise a file could name a module to be imported
    register_type(Path, str, _path, type_check=isinstance, fail_already_registered=False)
    parser = ArgumentParser(
        prog=program,
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=PlainHelp,
    )
    parser.add_argument(f"--{CONFIG}", action="config", help=OPTIONS_FILE)
    parser.add_argument(
        f"--{BASE}", help="only in a YAML file: another file, relative to it, whose options it overrides"
    )
    parser.parser_mode = _register_loader()
    add_options(parser)
    use_plain_names(parser)
    if examples:
        # The parser's own help follows; jsonargparse has no other place for text before the usage.
        parser.format_help = partial(_help, examples, parser.format_help)  # type: ignore[method-assign]
    spelled, files = _spelled_out(parser, arguments, appended, is_word)
    try:
        parsed = parser.parse_args(spelled)
        refuse_nothing(dict(parsed.items()), parser, files)
        values = parser.instantiate(parsed)
    except (ArgumentError, ValueError, TypeError, RecursionError) as error:
        raise UserError(explain(error, parser, files)) from error
    for name in (CONFIG, BASE):
        values.pop(name, None)
    return dict(values.as_dict() if hasattr(values, "as_dict") else values)


def _help(examples: Sequence[str], options_help: Callable[[], str]) -> str:
    return f"{_shown_examples(examples)}\n{options_help()}"


def _shown_examples(examples: Sequence[str]) -> str:
    title = "example:" if len(examples) == 1 else "examples:"
    return "\n".join([title, *(f"  {example}".replace("\n", "\n  ") for example in examples), ""])


def _register_loader() -> str:
    """Teach the parser to read values as YAML, except for the names of files that are not UTF-8, which are no
    YAML and stay as they are. Return the name by which the parser knows this."""
    import yaml
    from jsonargparse import get_loader, set_loader

    read_yaml = get_loader("yaml")

    def read_value(text: str) -> Any:
        return read_yaml(text) if is_unicode(text) else text

    set_loader("yaml or name", read_value, exceptions=(yaml.YAMLError,))
    return "yaml or name"


def _path(text: str) -> Path:
    """Return a path (`named_path`). An empty text is refused: its path would be the working folder."""
    if not str(text).strip():
        raise ValueError("Got value: ")  # as the parser says it
    return named_path(text)


def _name_first(command: Command, arguments: list[str]) -> list[str]:
    """Put a name before a first word that has none: `prepare cremad`, `predict a.wav`, `bench FILE.yaml`."""
    if not arguments or arguments[0].startswith("-"):
        return arguments
    if arguments[0].endswith((".yaml", ".yml")):
        return [f"--{CONFIG}", *arguments]
    if command.unnamed is not None:
        return [f"--{command.unnamed}", *arguments]
    raise UserError(f"'{arguments[0]}' is no option: every option has a name (see --help)")


def _add_parameters(parser: ArgumentParser, command: Command) -> None:
    """Add an option for each of the function's parameters."""
    words = command.word_lists
    parser.add_function_arguments(
        command.function, as_positional=False, sub_configs=True, fail_untyped=True, skip=set(words)
    )
    if not words:
        return
    from docstring_parser import parse

    described = {entry.arg_name: entry.description for entry in parse(command.function.__doc__ or "").params}
    for name in words:
        parser.add_argument(
            f"--{name}", nargs="+", action="extend", type=str, default=[], help=described.get(name)
        )
    if command.positional is not None:
        # No default, so that without such words the option of this name, or the YAML file, stands.
        parser.add_argument(
            command.positional,
            nargs="*",
            action="extend",
            type=str,
            default=argparse.SUPPRESS,
            help=described.get(command.positional),
        )


def _spelled_out(
    parser: ArgumentParser,
    arguments: Sequence[str],
    appended: Sequence[str],
    is_word: Callable[[str], bool] | None,
) -> tuple[list[str], dict[str, Path]]:
    """Return the arguments as the parser takes them, and the file that gives an option its value, by option.

    A hyphen in a name becomes an underscore, an alias becomes its option, a switch without a value gets
    `true`, words become a list where the option takes one, and a `--config` file is preceded by its bases.
    What follows `--` is left as it is.
    """
    defaults, types = dict(parser.get_defaults().items()), option_types(parser)
    names = OptionNames(defaults, dashes="--")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    configs: list[str] = []
    spelled: list[str] = []
    given: list[str] = []
    files: dict[str, Path] = {}
    for word, *following in _split_at_options(arguments[:end]):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_").removesuffix("+")
        values = [value, *following] if equals else following
        given.append(name)
        if not option.startswith("--"):
            spelled.append(word)
        elif name == CONFIG and values:
            for file in with_bases(named_path(values[0])):
                options, source = _config_source(file, defaults, types)
                configs.append(f"--{CONFIG}={source}")
                files |= dict.fromkeys(options, file)
            spelled += values[1:]
        elif name not in names and name not in PARSERS_OWN:
            name, converted = names.resolve(name, values[0] if values else "true")
            text = str(converted).lower() if isinstance(converted, bool) else str(converted)
            spelled += [f"--{name}={text}", *values[1:]]
            given.append(name)
        elif isinstance(defaults.get(name), bool) and not _is_value(name, values, is_word):
            spelled += [f"--{name}={value or 'true'}", *following]
        else:
            if values and names.is_group(name):
                _check_group(names, name, values[0])
            if len(values) == 1 and is_nothing(values[0], types.get(name)):
                equals, value, following = "=", "null", []
            elif values and name not in appended and is_list_item(values[0], types.get(name)):
                equals, value, following = "=", as_list(values, types[name]), []
            if name in appended and len(values) > 1 and not values[0].startswith("["):
                spelled += [f"--{name}+={value}" for value in values]
                continue
            append = "+" if name in appended or option.endswith("+") else ""
            spelled += [f"--{name}{append}{equals}{value}", *following]
    names.check_together(given)
    files = {name: file for name, file in files.items() if name not in given}
    return [*configs, *spelled, *arguments[end:]], files


def _is_value(name: str, values: Sequence[str], is_word: Callable[[str], bool] | None) -> bool:
    """Return whether what follows a switch is its value, and not a word of the command, such as a clip.

    Raises UserError for a word that can be neither.
    """
    if not values or is_word is None:
        return bool(values)
    word = values[0]
    if word.lower() not in BOOLEANS and not is_word(word):
        raise UserError(
            f"--{name}: '{word}' is neither true nor false, and no file: give true, false or nothing"
        )
    return word.lower() in BOOLEANS


def _split_at_options(arguments: Sequence[str]) -> list[list[str]]:
    """Return each option with the words that follow it; words before the first option stand alone."""
    groups: list[list[str]] = []
    for word in arguments:
        if word.startswith("--") or not groups or not groups[-1][0].startswith("--"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


def _check_group(names: OptionNames, name: str, value: str) -> None:
    """Raise UserError for a value of a group of options, which is neither a file of them nor a mapping."""
    if Path(value).is_file():
        read_options(Path(value))
    elif not value.startswith("{"):
        raise names.group_error(name, value)


def _config_source(
    file: Path, defaults: Mapping[str, Any], types: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Return which options a file gives, and what the parser reads for it: the file itself, or JSON if
    something is replaced.

    An alias is replaced by its option, and values as `_replaced_values` says. An empty file is replaced
    because the parser would refuse it.
    """
    names = OptionNames(defaults)
    content = read_options(file)
    try:
        resolved = names.resolve_all(content)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    replaced = _replaced_values(resolved, defaults, types)
    if content and names.has_all(content) and not replaced:
        return list(resolved), str(file)
    return list(resolved), json.dumps(
        resolved | replaced, default=str, ensure_ascii=False
    )  # YAML lacks JSON's escapes of emoji


def _replaced_values(
    options: Mapping[str, Any], defaults: Mapping[str, Any], types: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a file that the parser would not take as they are meant: `none`, and one value
    where an option takes a list."""
    replaced: dict[str, Any] = {}
    for name, value in options.items():
        if not isinstance(value, str | int | float):
            continue
        if is_nothing(value, types.get(name)):
            replaced[name] = None
        elif defaults.get(name) == [] or is_list_item(value, types.get(name)):
            replaced[name] = [value]
    return replaced
