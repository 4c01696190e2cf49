"""Words without an option's name, as in `predict --enroll a.wav=sad b.wav=happy -- clip.wav`, under the names
of the lists that they belong to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from inspect import Signature


def gather_bare(arguments: Sequence[str], signature: Signature, bare: str) -> list[str]:
    """The same arguments with each list written once, as `--name=[...]`.

    An option of another kind takes one word, a switch none, and a list all words up to the next option.
    Whatever is left, and everything behind `--`, belongs to the list `bare`.
    """
    annotations = {name: str(one.annotation) for name, one in signature.parameters.items()}
    lists = {name for name, kind in annotations.items() if kind.startswith(("tuple[", "list["))}
    switches = {name for name, kind in annotations.items() if kind == "bool"} | {"help"}
    kept: list[str] = []
    gather_in_order: dict[str, list[str]] = {}
    words = iter(arguments)
    current = bare
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if word == "--":
            gather_in_order.setdefault(bare, []).extend(words)
        elif not word.startswith("--"):
            if word == "-h":
                kept.append(word)
            else:
                gather_in_order.setdefault(current, []).append(word)
        elif name in lists:
            current = name
            gather_in_order.setdefault(name, []).extend([value] * bool(equals))
        else:
            current = bare
            kept.append(word)
            if not equals and name not in switches and (following := next(words, None)) is not None:
                kept.append(following)
    return [*kept, *(f"--{name}={json.dumps(given)}" for name, given in gather_in_order.items())]
