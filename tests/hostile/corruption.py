"""Make hostile files, and check what must hold whatever is in them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from perser.audio import BadAudio
from perser.errors import UserError

TIMES = int(os.environ.get("HOSTILE_TIMES", "1"))
"""How many times as many examples to try as the ordinary suite does."""
TEXTS = (
    b"",
    b"\x00",
    b"\xff\xfe\x00",
    b"\r\n",
    b"\t",
    b'"',
    b"'",
    b"\\",
    b"[" * 3000,
    b"{" * 3000,
    b"9" * 5000,
)
PIECES = (*TEXTS, b"../" * 20, b"/etc/passwd", b"\xef\xbb\xbf", b"a" * 200_000, b"\\ud800", b"null", b"1e999")
PIECES = (*PIECES, b"-1", b"\x1b[2J", b" " * 60_000, b"\xed\xa0\x80", "é".encode("latin-1"), b"!!python/none")


def examples(count: int) -> settings:
    """Return hypothesis settings for so many examples. In the ordinary suite they are the same every time."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=count * TIMES, deadline=None, derandomize=TIMES == 1, suppress_health_check=slow
    )


@st.composite
def corrupted(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw the content cut, flipped, overwritten, with pieces put in, in another encoding, or replaced."""
    position = st.integers(0, max(0, len(content) - 1))
    kind = draw(st.sampled_from(("cut", "flip", "insert", "remove", "repeat", "zero", "encode", "other")))
    at, length = draw(position), draw(st.integers(1, 64))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        for _ in range(draw(st.integers(1, 8))):
            at = draw(position)
            content = content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
        return content
    if kind == "insert":
        return content[:at] + draw(st.sampled_from(PIECES) | st.binary(max_size=32)) + content[at:]
    if kind == "remove":
        return content[:at] + content[at + length :]
    if kind == "repeat":
        return content[: at + length] + content[at:]
    if kind == "zero":
        return content[:at] + bytes(length) + content[at + length :]
    if kind == "encode":
        return _encoded(content, draw(st.sampled_from(("utf-16", "utf-8-sig", "utf-32", "crlf", "cr"))))
    return draw(
        st.sampled_from((b"", bytes(100), b"\x7fELF", b"PK\x03\x04", pickle.dumps([1]), b"{}", b"[]"))
    )


def _encoded(content: bytes, encoding: str) -> bytes:
    if encoding in ("crlf", "cr"):
        return content.replace(b"\n", b"\r\n" if encoding == "crlf" else b"\r")
    return content.decode("latin-1").encode(encoding)


def result_or_error(run: Callable[[], Any]) -> Any:
    """Return a run's result, or None if it raises an error of one line that a terminal can show.

    Any other exception is a fault and is passed on.
    """
    try:
        return run()
    except (UserError, BadAudio) as error:
        line = str(error)
        assert line
        assert line.isprintable()
        assert len(line) < 3000
        return None


def tree(folder: Path) -> dict[str, str]:
    """Return the state of every file, link and folder below a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): _state(path) for path in sorted(folder.rglob("*"))}


def _state(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


@contextmanager
def untouched(folder: Path, but: str | None = None) -> Iterator[None]:
    """Check that the block changes nothing below the folder, except inside its entry `but`."""

    def states() -> dict[str, str]:
        return {name: state for name, state in tree(folder).items() if name.split("/")[0] != but}

    before = states()
    yield
    assert states() == before


class Trap:
    """An object whose pickle creates the file `mark` when it is opened, as a sign that code was run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)
