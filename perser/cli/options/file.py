"""Read YAML files of options, each of which may name a `base`: another file, whose options it changes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.errors import UserError
from perser.io.listed_paths import named_path

if TYPE_CHECKING:
    from yaml import MappingNode, SafeLoader

MOST_VALUES = 100_000
"""A file of options with more values than this is refused."""


def with_bases(file: Path) -> list[Path]:
    """Return the file and those it is based on, the furthest first.

    Raises UserError where a base does not exist, or is based on the file itself.
    """
    files = [file]
    while (named := read_options(files[0]).get("base")) is not None:
        base = files[0].parent / named_path(str(named))
        if not base.is_file():
            raise UserError(f"{files[0]}: its base {base} is not there")
        if any(base.samefile(other) for other in files):
            raise UserError(f"{files[0]}: its base {base} is based on it: that is a circle")
        files.insert(0, base)
    return files


def read_options(file: Path) -> dict[Any, Any]:
    """Return what a file of options says.

    Raises UserError for a file that cannot be read, is no YAML, gives a key twice, is nested too deep, or
    comes to too many values.
    """
    import yaml

    try:
        content = _loader()(file.read_text(encoding="utf-8-sig")).get_single_data()
    except FileNotFoundError:
        from perser.io.folders import did_you_mean  # slow to import

        raise UserError(f"{file} is not there{did_you_mean(file)}: give a YAML file of options") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UserError(f"{file}{line}: {error.problem or error}: correct the YAML") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} is no YAML file of options: {error}") from error
    except RecursionError:
        raise UserError(f"{file} is nested too deep: is it a file of options?") from None
    if _count(content, {}) > MOST_VALUES:
        raise UserError(f"{file} comes to more than {MOST_VALUES} values: is it a file of options?")
    if content is None:  # an empty file
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{file} is no file of options: each of its lines gives one, as in `name: value`")
    return content


@cache
def _loader() -> type[SafeLoader]:
    """Return YAML's safe loader, which here also refuses a key that is given twice: the last would win."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
            first: dict[str, int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                    continue
                if key.value in first:
                    problem = f"{key.value} is given twice, first in line {first[key.value]}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                first[key.value] = key.start_mark.line + 1
            return super().construct_mapping(node, deep)

    return Loader


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
