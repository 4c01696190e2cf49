"""Read the lines of a text that people write: a table or a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from perser.errors import UserError

INVISIBLE = "\ufeff\u200b\u2060"
"""Characters that editors leave at the ends of texts and that nobody sees."""

_OTHER_FILES = {
    b"PK\x03\x04": "a workbook or an archive",
    b"\xd0\xcf\x11\xe0": "a workbook",
    b"\x1f\x8b": "compressed",
    b"PAR1": "a Parquet file",
}
"""How files begin that hold tables in other forms."""

_LINE_OF_OLD_MACS = re.compile(r"(?<=\r)(?!\n)")


def visible(text: str) -> str:
    """Return a text without space and invisible characters at its ends."""
    text = text.strip()
    return text if text.isascii() else text.strip(INVISIBLE).strip()


def read_lines(file: Path, stream: Iterable[bytes], errors: str = "strict") -> Iterator[str]:
    """Yield the lines of an open UTF-8 file, with or without a byte-order mark, whatever ends them.

    `errors` says what becomes of bytes that are not UTF-8, as in `bytes.decode`. Raises UserError, which
    names the line, for bytes that are no text.
    """
    for number, line in enumerate(stream, start=1):
        if number == 1 and (
            kind := next((_OTHER_FILES[m] for m in _OTHER_FILES if line.startswith(m)), None)
        ):
            raise UserError(f"{file} is {kind}, no text: save it as CSV in UTF-8")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
        except UnicodeDecodeError:
            advice = "save it as UTF-8 (in Excel: 'CSV UTF-8')"
            raise UserError(f"{file}, line {number}: not UTF-8: {advice}") from None
        if "\0" in text:
            raise UserError(f"{file}, line {number}: not text, it has a zero byte: save it as UTF-8 text")
        if "\r" in text.rstrip("\r\n"):  # ends of lines as on old Macs
            yield from filter(None, _LINE_OF_OLD_MACS.split(text))
        else:
            yield text
