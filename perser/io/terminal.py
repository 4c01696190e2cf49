"""Print any text to any terminal, pipe or file."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from typing import Any

from perser.errors import one_line


def accept_any_text() -> None:
    """Make the output of this process take any text, so that no result is lost while it is printed.

    What the encoding of a terminal or a pipe lacks comes out as an escape sequence, such as `\\xfc`. So does
    a part of a file's name that is not Unicode. Output that goes to a file is UTF-8, as all files here are.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if _is_file(stream) else None
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def replace_closed_streams() -> None:
    """Let disappear what is printed to a stream that was closed when the program started (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 (it stays open)


def print_json(content: Any) -> None:
    """Print a value as JSON, with the letters themselves where the output has them, and else escaped as JSON
    does it."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content, indent=1)
    print(text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 listener`, `2 listeners`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_shown(text: str) -> str:
    """Return a text as it comes out on the standard output, so that the width of a column can be known."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return one_line(text).encode(encoding, "backslashreplace").decode(encoding)


def _is_file(stream: io.TextIOWrapper) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return False
