from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import pytest

from perser.errors import UserError
from perser.io.listed_paths import listed_path, named_path, read_list
from perser.io.tables import read_table

NFC, NFD = "é.wav", normalize("NFD", "é.wav")


def test_one_file_has_one_path(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / NFD).touch()
    written = [f"in/{NFC}", f"in/{NFD}", f"in\\{NFC}", f".\\in\\{NFD}", f"./in//{NFC}", f"in/../in/{NFD}"]
    assert {listed_path(tmp_path / "list.txt", text) for text in written} == {f"in/{NFD}"}


def test_two_files_whose_names_look_the_same_stay_two(tmp_path: Path):
    for name in (NFC, NFD, "a\\b.wav"):
        (tmp_path / name).touch()
    for name in (NFC, NFD, "a\\b.wav"):
        assert listed_path(tmp_path / "list.txt", name) == name


def test_two_forms_of_a_name_that_find_one_file_become_one(tmp_path: Path):
    """As on macOS, where the disk does not distinguish them."""
    (tmp_path / NFC).touch()
    (tmp_path / NFD).hardlink_to(tmp_path / NFC)
    assert listed_path(tmp_path / "list.txt", NFD) == NFC


def test_a_detour_through_a_link_is_kept(tmp_path: Path):
    (tmp_path / "other" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "other" / "in")
    (tmp_path / "other" / "a.wav").touch()
    assert listed_path(tmp_path / "list.txt", "link/../a.wav") == "link/../a.wav"


def test_a_list_has_comments_quotes_and_any_name(tmp_path: Path):
    for name in (b"#1.wav", b"a b.wav", b"'q'.wav", b"caf\xe9.wav", "😀.wav".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    lines = (
        b"\xef\xbb\xbf# mine\r\n#1.wav\r\n\r\n \"a b.wav\" \r\n'q'.wav\r\ncaf\xe9.wav\r\n"
        + "😀.wav\r\nin\\gone.wav".encode()
    )
    (tmp_path / "list.txt").write_bytes(lines)
    names = ["#1.wav", "a b.wav", "'q'.wav", "caf\udce9.wav", "😀.wav", "in/gone.wav"]
    assert read_list(tmp_path / "list.txt") == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no recordings"),
        (b"# a\n\n", "lists no recordings"),
        ("a".encode("utf-16"), "line 1: not text, it has a zero byte: save it as UTF-8"),
    ],
)
def test_a_list_of_nothing_is_refused(content: bytes, message: str, tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"list\.txt,? {message}"):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("unseen", ["", "\u200b", "\u2060", " \ufeff"])
def test_a_list_and_a_table_have_the_same_lines(end: str, mark: str, unseen: str, tmp_path: Path):
    """Whatever ends the lines, and whatever nobody sees at the ends of a name."""
    names = ["a.wav", "b c.wav", "é.wav"]
    lines = [f"{unseen}{name}{unseen}" for name in names]
    (tmp_path / "list.txt").write_bytes((mark + end.join(lines)).encode())
    (tmp_path / "table.csv").write_bytes((mark + end.join(["path", *lines]) + end).encode())
    assert [path.name for path in read_list(tmp_path / "list.txt")] == names
    assert [row.path() for row in read_table(tmp_path / "table.csv", ["path"])] == names


def test_the_home_folder_is_found_in_tables_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    (here / "list.txt").write_text("~/a.wav\n~.wav\n")
    (here / "table.csv").write_text("path\n~/a.wav\n~.wav\n")
    assert read_list(here / "list.txt") == [home / "a.wav", here / "~.wav"]
    rows = read_table(here / "table.csv", ["path"])
    assert [row.path() for row in rows] == [str(home / "a.wav"), "~.wav"]
    assert named_path("~/a.wav") == home / "a.wav"
    (here / "~").mkdir()
    (here / "~" / "a.wav").touch()
    assert read_list(here / "list.txt") == [here / "~" / "a.wav", here / "~.wav"]
    assert named_path("~/a.wav") == Path("~/a.wav")
