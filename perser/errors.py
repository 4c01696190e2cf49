"""Packages that only some options need, and that an extra of perser installs.

The one exception that a user is meant to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


def require(package: str, extra: str | None, what: str) -> None:
    """Raises UserError where `what` needs a package that is not installed; it names the extra that has it, or
    the package where none has."""
    if find_spec(package) is None:
        wanted = package if extra is None else f"'perser[{extra}]'"
        raise UserError(f"{what} needs the package {package}: pip install {wanted}")


LONGEST = 2_000
"""Characters of a message; what a stranger's file put into it may be megabytes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what to do.

    The command line prints the line alone and exits with 2; `--debug` shows the traceback too. Line breaks
    and control characters, which a file's name or content may have brought into it, become spaces; of a very
    long message the middle is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """The text on one line that a terminal can show, of `LONGEST` characters at most."""
    line = _CONTROL.sub(" ", text).strip()
    if len(line) > LONGEST:
        half = LONGEST // 2 - 3
        line = f"{line[:half]} ... {line[-half:]}"
    return line.encode("utf-8", "backslashreplace").decode()


@contextmanager
def explain_damage(what: str, remedy: str) -> Iterator[None]:
    """Within it, whatever a damaged file makes a library raise is a UserError: `what` is damaged, and what to
    do about it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{what} is damaged ({reason}): {remedy}") from error
