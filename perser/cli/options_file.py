"""Read YAML files of options, each of which may name a `base`: another file, whose options it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perser.errors import UserError

MOST_VALUES = 100_000
"""A file of options with more values than this is refused."""


def with_bases(file: Path) -> list[Path]:
    """Return the file and those it is based on, the furthest first.

    Raises UserError where a base does not exist, or is based on the file itself.
    """
    files = [file]
    while (named := (read_options(files[0]) or {}).get("base")) is not None:
        base = files[0].parent / str(named)
        if not base.is_file():
            raise UserError(f"{files[0]}: its base {base} is not there")
        if any(base.samefile(other) for other in files):
            raise UserError(f"{files[0]}: its base {base} is based on it: that is a circle")
        files.insert(0, base)
    return files


def read_options(file: Path) -> dict[Any, Any] | None:
    """Return what a file of options says; None if it cannot be read as one, which the parser reports.

    Raises UserError for a file that is nested too deep or comes to too many values.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    except RecursionError:
        raise UserError(f"{file} is nested too deep: is it a file of options?") from None
    if _count(content, {}) > MOST_VALUES:
        raise UserError(f"{file} comes to more than {MOST_VALUES} values: is it a file of options?")
    if content is None:  # an empty file
        return {}
    return content if isinstance(content, dict) else None


def _count(content: object, counted: dict[int, int]) -> int:
    """Return how many values a YAML file comes to when its references are written out: nine lines can come to
    a thousand million. `counted`: the counts of lists and mappings so far, by their id."""
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in counted:
        counted[id(content)] = MOST_VALUES  # stands if it contains itself
        inside = [*content, *content.values()] if isinstance(content, dict) else content
        counted[id(content)] = 1 + sum(_count(value, counted) for value in inside)
    return counted[id(content)]
