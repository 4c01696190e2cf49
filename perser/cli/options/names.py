"""Find the option that a name stands for: an old name, a name that other programs use, or a misspelled one.

`OLD_NAMES` and `ALIASES` are all there is to edit. Both apply below any prefix, such as a stage of an
experiment: `meta_train.max_steps` stands for the same option as `max_steps` in `perser meta-train`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from perser.cli.command import COMMANDS, function_of
from perser.errors import UserError, nearest
from perser.training.earlier_versions import RENAMED_OPTIONS

OLD_NAMES = {
    "turns": "folds",
    "variants": "ablations",
} | RENAMED_OPTIONS
"""Old name to new name. An old name is refused with a line that names the new one."""


def _unchanged(alias: str, value: Any) -> Any:
    return value


def _boolean(alias: str, value: Any, otherwise: str = "give true or false") -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise UserError(f"{alias}: {value}, {otherwise}")
    return text == "true"


def _precision(alias: str, value: Any) -> str:
    return "bf16" if _boolean(alias, value) else "no"


def _resume(alias: str, value: Any) -> bool:
    hint = "give true or false: the newest checkpoint in OUT-running is found without being named"
    return _boolean(alias, value, hint)


def _of_all_processes(alias: str, value: Any) -> int:
    """Return the batch size of all launched processes together, which is what our options say."""
    try:
        return int(value) * int(os.environ.get("WORLD_SIZE", "1"))
    except (TypeError, ValueError):
        raise UserError(f"{alias}: {value}, give a whole number") from None


@dataclass(frozen=True)
class Alias:
    """The option that an alias stands for, and how the option's value is made from the alias's."""

    option: str
    convert: Callable[[str, Any], Any] = _unchanged


ALIASES = {
    "output_dir": Alias("out"),
    "report_to": Alias("run.tracker"),
    "resume_from_checkpoint": Alias("resume", _resume),
    "per_device_train_batch_size": Alias("batch_size", _of_all_processes),
    "num_train_epochs": Alias("epochs"),
    "max_steps": Alias("steps"),
    "warmup_ratio": Alias("warmup"),
    "eval_steps": Alias("validate_every"),
    "max_grad_norm": Alias("clip_norm"),
    "bf16": Alias("mixed_precision", _precision),
    "learning_rate": Alias("learning_rate"),
    "lr": Alias("learning_rate"),
    "from": Alias("from_model"),
}
"""Names of transformers' Trainer (and `lr`), and `from`, which Python keeps for itself, to our options. An
alias works where its option exists."""

INSTEAD = {
    "enroll": ("examples", "takes a table or a folder of labeled clips"),
    "examples": ("enroll", "takes CLIP=EMOTION for each labeled clip"),
}
"""Options of one command whose purpose another option has in other commands, and what that one takes."""

ROUTES = "perser.routes"
"""The group of the routes' entry points. Each route has a method of its name."""

VERSION = "version"
"""An option of the program itself."""

OPTIMIZATION = ("", "outer.")
"""Where a command may have the options of its optimization: at the top, or in meta-training's outer loop."""


class OptionNames:
    """The options of one parser, by their dotted names, and what other names stand for among them.

    Args:
        options: all options, nested ones as `outer.steps`.
        dashes: what errors put before an option's name: `--` on the command line, nothing in a file.
    """

    def __init__(self, options: Iterable[str], dashes: str = "") -> None:
        self._options = frozenset(options)
        self._groups = {
            name[:end] for name in self._options for end, letter in enumerate(name) if letter == "."
        }
        self._dashes = dashes

    def __contains__(self, name: str) -> bool:
        """Whether it is an option, a group of options, or a key in an option that is a dictionary."""
        return (
            name in self._options
            or name in self._groups
            or any(name.startswith(f"{option}.") for option in self._options)
        )

    def resolve(self, name: str, value: Any) -> tuple[str, Any]:
        """Return the option that a name stands for, and the value it gets.

        Raises UserError for an old name, for an alias of an option that is not there, and for any other name
        that is no option; it names the right or the nearest one.
        """
        if name in self:
            return name, value
        self._refuse_old(name)
        prefix, alias = self._split(name)
        if alias not in ALIASES:
            raise UserError(f"{self._dashes}{name} is no option{self._suggestion(name)}")
        known = ALIASES[alias]
        for place in OPTIMIZATION:
            if prefix + place + known.option in self:
                return prefix + place + known.option, known.convert(self._dashes + name, value)
        shown = f"{self._dashes}{name}"
        raise UserError(f"{shown} stands for {known.option}, which is no option here (see --help)")

    def check_together(self, names: Iterable[str]) -> None:
        """Raise UserError for names that mean one thing together in transformers, and another one here."""
        last_parts = {self._split(name)[1] for name in names}
        if {"per_device_train_batch_size", "gradient_accumulation_steps"} <= last_parts:
            raise UserError(
                f"{self._dashes}per_device_train_batch_size with gradient_accumulation_steps: give "
                "batch_size, which counts all that a step learns from, in all processes and parts"
            )

    def resolve_all(self, content: Mapping[Any, Any]) -> dict[str, Any]:
        """Return a file's options with every name resolved and all groups written out:
        `{"outer": {"max_steps": 3}}` becomes `{"outer.steps": 3}`.

        Raises UserError like `resolve`, and where an option is given by two names.
        """
        resolved: dict[str, Any] = {}
        self.check_together(name for name, _ in self._written_out(content))
        for name, value in self._written_out(content):
            option, value = self.resolve(name, value)
            if option in resolved:
                raise UserError(f"{name}: {option} is given twice: leave one out")
            resolved[option] = value
        return resolved

    def has_all(self, content: Mapping[Any, Any]) -> bool:
        """Whether all names in a file of options are names of options, and none is an alias."""
        return all(name in self for name, _ in self._written_out(content))

    def _written_out(self, content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in content.items():
            name = f"{prefix}{key}"
            if name in self._groups and isinstance(value, Mapping):
                yield from self._written_out(value, f"{name}.")
            elif name in self._groups and not isinstance(value, str):
                raise self.group_error(name, value)
            else:
                yield name, value

    def is_group(self, name: str) -> bool:
        """Return whether it is the name of a group of options, such as `outer`."""
        return name in self._groups

    def group_error(self, name: str, value: Any) -> UserError:
        """Return the error for a group of options that is given a value as if it were an option."""
        inside = [option for option in sorted(self._options) if option.startswith(f"{name}.")]
        shown = ", ".join(f"{self._dashes}{option}" for option in inside[:3])
        return UserError(f"{self._dashes}{name}: '{value}', but it is a group of options: give {shown}, ...")

    def _refuse_old(self, name: str) -> None:
        for old, new in OLD_NAMES.items():
            prefix = name.removesuffix(old)
            if prefix != name and (not prefix or prefix.endswith(".")) and prefix + new in self:
                raise UserError(f"{self._dashes}{name} is now {self._dashes}{prefix}{new}")

    def _suggestion(self, name: str) -> str:
        """Name the nearest option, by the whole name or by its last part, or where the name belongs."""
        by_last_part = {self._split(option)[1]: option for option in sorted(self._options, reverse=True)}
        closest = nearest(name, sorted(self._options))
        closest = closest or by_last_part.get(nearest(self._split(name)[1], by_last_part) or "")
        if closest:
            return f": did you mean {self._dashes}{closest}?"
        route = name.replace("_", "-")
        if "methods" in self._options and route in {each.name for each in entry_points(group=ROUTES)}:
            return f": did you mean {self._dashes}methods {route}?"
        return (self._of_others(name) if self._dashes else "") or " (see --help)"

    def _of_others(self, name: str) -> str:
        """Name the commands that have such an option; empty where none has."""
        if name == VERSION:
            return f" here: did you mean perser --{VERSION}?"
        taking = [entry.name for entry in entry_points(group=COMMANDS) if name in _parameters(entry)]
        if not taking:
            return ""
        option, takes = INSTEAD.get(name, ("", ""))
        instead = f": here {self._dashes}{option} {takes}" if option in self._options else ""
        return f" here, but one of perser {', perser '.join(sorted(taking))}{instead}"

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        """Return what stands before the last part of a dotted name, with its dot, and the last part."""
        before, dot, last = name.rpartition(".")
        return before + dot, last


def _parameters(entry: EntryPoint) -> list[str]:
    """Return the names of a command's parameters."""
    function = function_of(entry)
    return [] if function is None else [argument.arg for argument in function.args.args]
