"""`UserError`, which users read, `BadAudio`, and helpers for damaged files and missing packages."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec

LONGEST = 2_000
"""Characters of a message. Text from a file may be megabytes long."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class UserError(Exception):
    """A problem that the user can fix. The message is one line: what is wrong, where, and what to do.

    The command line prints the message alone and exits with 2; `--debug` shows the traceback too. Line breaks
    and control characters, which a file's name or content may have brought in, become spaces. The middle of a
    very long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ServiceUnavailable(UserError):
    """A server that is to answer about clips cannot be asked: no other clip would fare better."""


@contextmanager
def saying_where(place: str) -> Iterator[None]:
    """Put the place, such as an option or a line of a table, before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


class BadAudio(Exception):
    """A recording that cannot be used. The message is the reason, such as "empty" or "too short (0.03 s)"."""


def one_line(text: str) -> str:
    """Return the text on one line that a terminal can show, of at most `LONGEST` characters.

    What cannot be shown, such as half a character or one that turns the direction of writing, is escaped.
    """
    spaced = _CONTROL.sub(" ", text).strip()
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in spaced)
    if len(line) > LONGEST:
        half = LONGEST // 2 - 3
        line = f"{line[:half]} ... {line[-half:]}"
    return line


_SYSTEM = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
        errno.EIO,
    )
)
"""Numbers of the errors of a system that cannot read a file, whatever is in it."""

_MEMORY = re.compile(
    r"out of memory|not enough memory|(can't|cannot|unable to) allocate|failed to map segment", re.IGNORECASE
)

_DEVICE = re.compile(r"\b(CUDA|cuDNN|cuBLAS|NVIDIA|HIP|MPS)\b|same device")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a word is most like, in capitals or not; None where it is like none."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """Return the error for a word that is none of the known ones of its kind; it names the nearest one."""
    known = list(known)
    closest = nearest(word, known)
    hint = "" if closest is None else f"; did you mean '{closest}'?"
    return UserError(f"unknown {kind} '{word}': one of {', '.join(known)}{hint}")


@contextmanager
def explain_damage(what: str, remedy: str, intact: bool = False) -> Iterator[None]:
    """Turn any error that a damaged file causes in a library into a UserError.

    The message says that `what` is damaged, and the `remedy`. Where something else is to blame (a package,
    memory, the device, the system), it says that instead.

    Args:
        what: What is read.
        remedy: What to do if it is damaged.
        intact: Whether it is known to be what was saved, so that it is not to blame for any error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason, advice = first_line(error), advice_without_damage(error)
        if advice is None and intact:
            advice = f"its files are what was saved; install the packages of constraints.txt, or {remedy}"
        if advice is not None:
            raise UserError(f"cannot read {what} ({reason}): {advice}") from error
        raise UserError(f"{what} is damaged ({reason}): {remedy}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def reason_and_advice(error: Exception) -> str:
    """Return the first line of an error's message, and what to do where no file is to blame for it."""
    advice = advice_without_damage(error)
    return first_line(error) if advice is None else f"{first_line(error).rstrip('.')}: {advice}"


def advice_without_damage(error: Exception) -> str | None:
    """Return what to do about an error that no file's content causes; None where a file may be to blame."""
    text = str(error)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return "free some memory, or use a smaller model or another device"
    if isinstance(error, ImportError) and "flash" in text.lower():
        return "install flash-attn, or take attn_implementation out of the model's config.json"
    if isinstance(error, ImportError):
        return f"install {error.name}" if error.name else "install what it names"
    if "No usable temporary directory" in text:
        return "let this program write files there (disk space, ulimit -f), or name another folder in TMPDIR"
    if _DEVICE.search(text):
        return "use another device, such as cpu"
    if isinstance(error, ConnectionError | TimeoutError):
        return "check the network, and try again"
    if "interpreter shutdown" in text:
        return "let the main thread wait for this one (join)"
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return "let this program read it, and see that the disk and the system work"
    return None


def require_package(package: str, extra: str | None, what: str) -> None:
    """Raise UserError if `what` needs a package that is not installed.

    The message names the extra of perser that installs it, or the package itself where `extra` is None.
    """
    if find_spec(package) is None:
        wanted = package if extra is None else f"'perser[{extra}]'"
        raise UserError(f"{what} needs the package {package}: pip install {wanted}")


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold a text. File names that are not UTF-8 have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
