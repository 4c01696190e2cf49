"""The types of a command's options: what may be given, said in words, and errors about them in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from perser.errors import UserError, nearest, one_line

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

WORDS = {
    NoneType: "none",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    Path: "a file or folder",
}
"""What an option of a type takes."""

NOTHING = ("none", "null")
"""Words for no value, where an option may have none."""

_KEY = re.compile(r'Parser key "([^"]+)"')
_VALUES = (re.compile(r"Given value:(.*)", re.DOTALL), re.compile(r"Got value:(.*)", re.DOTALL))
"""Where a message says the value; the first is about several types, and each of these has the other."""
_PART = re.compile(r"NestedArg\(key='([^']*)'")
"""How the parser writes a value that was given to a part of an option."""
_REQUIRED = re.compile(r"the following arguments are required: (.*)")
_NO_VALUE = re.compile(r"argument --([\w.]+)\S*: expected .*argument")
_UNRECOGNIZED = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)


def option_types(parser: ArgumentParser) -> dict[str, Any]:
    """Return the type of each option of a parser by its dotted name."""
    # jsonargparse has no public way to ask for them.
    return {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}


def is_nothing(value: Any, hint: Any) -> bool:
    """Return whether a value is the word `none`, as the help calls it, where an option may have no value."""
    return str(value).lower() in NOTHING and NoneType in _alternatives(hint) and value not in _choices(hint)


def is_list_item(value: Any, hint: Any) -> bool:
    """Return whether a single value is meant as a list of one, by an option that takes a list.

    Not where the option also takes a value of another kind, and not for a word of its own (`none`, `all`).
    """
    alternatives = [each for each in _alternatives(hint) if each is not NoneType]
    items = [get_args(each)[0] for each in alternatives if get_origin(each) in (list, tuple)]
    words = [each for each in alternatives if get_origin(each) is Literal]
    if not items or len(items) + len(words) < len(alternatives):
        return False
    if items[0] in (int, float):
        return re.match(r"[-+.\d]", str(value)) is not None
    return isinstance(value, str) and value not in _choices(hint, items=False)


def as_list(values: Sequence[str], hint: Any) -> str:
    """Return the words given for an option that takes a list as one word, such as `["a", "b"]`.

    `--methods a b` and `--methods a,b` mean `--methods [a, b]`.
    """
    if values[0].startswith("["):
        return " ".join(values)
    item = next(get_args(each)[0] for each in _alternatives(hint) if get_origin(each) in (list, tuple))
    if item is not Path:
        values = [word for value in values for word in value.split(",") if word]
    return f"[{', '.join(values)}]" if item in (int, float) else json.dumps(values, ensure_ascii=False)


def describe(hint: Any) -> str:
    """Return what an option of a type takes, such as `a whole number or none`."""
    return " or ".join(dict.fromkeys(_describe(each) for each in _alternatives(hint)))


def refuse_nothing(values: Mapping[str, Any], parser: ArgumentParser, files: Mapping[str, Path]) -> None:
    """Raise UserError for an option that is none and may not be.

    The parser takes `null` in a file for every option. `files` is as in `explain`.
    """
    for name, hint in option_types(parser).items():
        if hint is not None and values.get(name, name) is None and NoneType not in _alternatives(hint):
            raise UserError(f"{_place(name, files)}: none, give {describe(hint)}")


def explain(error: Exception, parser: ArgumentParser, files: Mapping[str, Path]) -> str:
    """Return in one line what an error of the parser says: the option, the value, and what to give.

    Args:
        error: what the parser raised.
        parser: the parser.
        files: the file that gives an option its value, by the option; others come from the command line.
    """
    text, types = str(error), option_types(parser)
    helps = {action.dest: action.help for action in parser._actions}
    if match := _REQUIRED.search(text):
        names = match[1].split(", ")
        shown = ", ".join(f"--{name}" for name in names)
        if len(names) > 1 or not helps.get(names[0]):
            return f"{shown} {'is' if len(names) == 1 else 'are'} missing (see --help)"
        return f"{shown} is missing: give {_first_part(str(helps[names[0]]))}"
    if (match := _NO_VALUE.search(text)) and match[1] in types:
        return f"--{match[1]} has no value: give {_what(match[1], types, helps)}"
    if match := _UNRECOGNIZED.search(text):
        return f"'{match[1]}' belongs to no option: an option is --NAME and one value (see --help)"
    keys = [key for key in _KEY.findall(text) if key in types]
    if not keys:
        return one_line(text) or type(error).__name__
    key, value = keys[-1], next(filter(None, (pattern.search(text) for pattern in _VALUES)), None)
    place = _place(key, files)
    if value is None:
        return f"{place}: give {_what(key, types, helps)}"
    given = one_line(value[1])
    if part := _PART.match(given):  # `--json.x 1`
        option = f"{place}.{part[1]}"
        return f"{option} is no option: {place} has no parts, give it {_what(key, types, helps)}"
    if not given:
        return f"{place} is empty: give {_what(key, types, helps)}"
    closest = nearest(given, _choices(types[key]))
    hint = "" if closest is None else f"did you mean {closest}? "
    return f"{place}: '{given}', {hint}{'Give' if hint else 'give'} {_what(key, types, helps)}"


def _place(name: str, files: Mapping[str, Path]) -> str:
    """Return an option as errors name it: with its file, or as on the command line."""
    return f"{files[name]}: {name}" if name in files else f"--{name}"


def _what(name: str, types: Mapping[str, Any], helps: Mapping[str, str | None]) -> str:
    """Return what an option takes; the help says it where the parser does not know the type."""
    return _first_part(helps.get(name) or "a value") if types[name] is None else describe(types[name])


def _first_part(text: str) -> str:
    """Return a help text up to its first semicolon or the end of its first sentence."""
    return re.split(r";|\.(?:\s|$)", text, maxsplit=1)[0]


def _alternatives(hint: Any) -> list[Any]:
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _choices(hint: Any, items: bool = True) -> list[str]:
    """Return the fixed words that an option takes, and with `items` also those in its lists."""
    words: list[str] = []
    for each in _alternatives(hint):
        if get_origin(each) is Literal:
            words += [word for word in get_args(each) if isinstance(word, str)]
        elif items and get_origin(each) in (list, tuple):
            words += _choices(get_args(each)[0])
    return words


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return (
            " or ".join(_choices(hint)) if len(_choices(hint)) < 3 else f"one of {', '.join(_choices(hint))}"
        )
    if get_origin(hint) in (list, tuple):
        item = get_args(hint)[0]
        examples = _choices(item) or {int: "12", float: (0.1, 0.2)}.get(item, "ab")
        return f"a list such as [{', '.join(map(str, examples[:2]))}]"
    if get_origin(hint) is dict or hint is dict:
        return "names with values, such as {a: ..., b: ...}"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))
