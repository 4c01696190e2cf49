from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from perser.io.terminal import accept_any_text, as_shown, counted, print_json

TEXT = "ü 😀 caf\udce9"
"""The last character is a part of a file's name that is not Unicode."""


def pipe(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Put a pipe of that encoding in place of standard output, and return what is written to it."""
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding, write_through=True))
    return content


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", rb"\xfc \U0001f600 caf\udce9"),
        ("cp1252", rb"%b \U0001f600 caf\udce9" % "ü".encode("cp1252")),
        ("utf-8", rb"%b caf\udce9" % "ü 😀".encode()),
    ],
)
def test_what_an_encoding_lacks_is_printed_as_an_escape(
    encoding: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
):
    written = pipe(monkeypatch, encoding)
    accept_any_text()
    print(TEXT)
    assert written.getvalue().strip() == expected


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_json_stays_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch):
    written = pipe(monkeypatch, encoding)
    accept_any_text()
    print_json([TEXT])
    assert json.loads(written.getvalue().decode(encoding)) == [TEXT]


def test_json_keeps_the_letters_that_the_output_has(capsys: pytest.CaptureFixture[str]):
    print_json(["ü 😀"])
    assert "ü 😀" in capsys.readouterr().out


def test_output_to_a_file_is_utf_8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with (tmp_path / "out.csv").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        accept_any_text()
        print(TEXT)
    assert (tmp_path / "out.csv").read_bytes().strip() == rb"%b caf\udce9" % "ü 😀".encode()


def test_output_that_is_no_text_stream_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        accept_any_text()
        print_json([TEXT])


def test_a_number_has_its_noun():
    assert [counted(number, "listener") for number in range(3)] == [
        "0 listeners",
        "1 listener",
        "2 listeners",
    ]


def test_a_text_is_as_wide_as_it_comes_out(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert [as_shown(text) for text in ("a", "é", "a\nb")] == ["a", "\\xe9", "a b"]
