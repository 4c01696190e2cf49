"""A command of the `perser` program: a function, and what its signature cannot say about its options."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = "perser.commands"
"""The group of the commands' entry points."""


@dataclass(frozen=True)
class Command:
    """A function whose signature and docstring give a command its options, and what they cannot say.

    An entry point of `perser.commands` names such an object, or a plain function if that says it all.

    Args:
        function: does what the command is for.
        switches: options without a value that do something else instead, such as `prepare --list`. Where
            that has parameters, they are its own options: `prepare --check FOLDER`.
        positional: the parameter (`tuple[str, ...]`) that takes words without a name: `predict a.wav b.wav`.
        is_word: whether a text can be such a word; otherwise `--json maybe` would be a switch and a clip.
        first: the parameter that a first word without a name stands for, such as `models FOLDER`; where none
            is given, the function's first one if it is required.
        lists: further parameters (`tuple[str, ...]`) that take several words each: `--enroll A B`.
        add_arguments: adds the options to a parser, where they are not the function's own parameters.
        processes: whether the option `--processes N` runs the command in N processes of this machine that
            work together.
    """

    function: Callable[..., None]
    switches: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    positional: str | None = None
    is_word: Callable[[str], bool] = bool
    first: str | None = None
    lists: Sequence[str] = ()
    add_arguments: Callable[[ArgumentParser], None] | None = None
    processes: bool = False

    @property
    def word_lists(self) -> tuple[str, ...]:
        """All parameters that take several words: `lists`, and `positional` if there is one."""
        return (*self.lists, *filter(None, [self.positional]))

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters that are options; none where `add_arguments` adds the options."""
        return {} if self.add_arguments else inspect.signature(self.function).parameters

    @property
    def unnamed(self) -> str | None:
        """The parameter that a first word without a name stands for; None where every option has a name."""
        if named := self.positional or self.first:
            return named
        first = next(iter(self.parameters.values()), None)
        return first.name if first is not None and first.default is first.empty else None

    def requested_switch(self, arguments: Sequence[str]) -> Callable[..., None] | None:
        """Return what the first switch among the arguments does; None where there is no switch."""
        given = {word.partition("=")[0] for word in arguments}
        requested = (action for name, action in self.switches.items() if f"--{name}" in given)
        return next(requested, None)


def as_command(loaded: Command | Callable[..., None]) -> Command:
    """Return the command that an entry point named: itself, or one made of a plain function."""
    return loaded if isinstance(loaded, Command) else Command(loaded)


def first_paragraph(function: Callable[..., Any]) -> str:
    """Return the docstring up to its first empty line."""
    return (function.__doc__ or "").strip().partition("\n\n")[0]


def examples(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the commands in the section `Examples:` of a docstring, as one would copy them into a shell.

    Each line is a command; one that is indented further continues the line before.
    """
    lines = (inspect.getdoc(function) or "").splitlines()
    start = lines.index("Examples:") + 1 if "Examples:" in lines else len(lines)
    section = takewhile(lambda line: line.startswith("    "), lines[start:])
    commands = re.split(r"\n(?! )", "\n".join(line.removeprefix("    ") for line in section))
    return tuple(re.sub(r"\n *", " \\\\\n    ", command) for command in commands if command)


def function_of(entry: EntryPoint) -> ast.FunctionDef | None:
    """Return the definition of the function that a command's entry point names, or that its `Command` has.

    The module is read, not imported: it may import torch, and help and errors have to come at once.
    """
    spec = importlib.util.find_spec(entry.module)
    if spec is None or spec.origin is None:
        return None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    function = entry.attr
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=entry.attr)], value=ast.Call(args=[ast.Name(id=name), *_])):
                function = name
    named = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == function)
    return next(named, None)
