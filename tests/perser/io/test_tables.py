"""Tables that people write, in every form, read as a manifest and as the examples of `perser enroll`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest

from perser.corpora.readers.manifest import read_manifest
from perser.errors import UserError
from perser.inference.clips import read_examples
from perser.io.tables import as_text, read_table

Table = list[list[str]]

ROWS = [
    ["path", "emotions", "speaker", "listener"],
    ["a.wav", "happy", "José", "7"],
    ["in/é.wav", "sad,very calm", "José", "7"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "in/é.wav", "#1.wav", "a b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def joined(delimiter: str, table: Table, end: str = "\n") -> str:
    quoted = [[f'"{cell}"' if delimiter[0] in cell else cell for cell in row] for row in table]
    return "".join(delimiter.join(row) + end for row in quoted)


def commas(table: Table) -> str:
    return joined(",", table)


def objects(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


FORMS: dict[str, Callable[[Table], str]] = {
    "commas": commas,
    "semicolons": lambda table: joined(";", table),
    "semicolons, as Excel is told": lambda table: "sep=;\n" + joined(";", table),
    "tabs": lambda table: joined("\t", table),
    "spaces after the delimiter": lambda table: joined(", ", table),
    "spaces and invisible characters around cells": lambda table: commas(
        [[f"\u00a0{cell} \u200b" for cell in row] for row in table]
    ),
    "every cell in quotes": lambda table: "\n".join(",".join(f'"{cell}"' for cell in row) for row in table),
    "a byte-order mark": lambda table: "\ufeff" + commas(table),
    "ends of lines of Windows": lambda table: joined(",", table, "\r\n"),
    "ends of lines of old Macs": lambda table: joined(",", table, "\r"),
    "empty columns and rows at the end": lambda table: commas([[*row, "", ""] for row in table]) + ",,,,\n\n",
    "empty lines above and between": lambda table: "\n\n" + commas(table).replace("\n", "\n  \n"),
    "capitals and spaces in the header": lambda table: commas(
        [[f" {name.upper()} " for name in table[0]], *table[1:]]
    ),
    "numbers of rows, as pandas writes them": lambda table: commas(
        [["", *table[0]], *([str(number), *row] for number, row in enumerate(table[1:]))]
    ),
    "other columns": lambda table: commas([[*row, "note", "note"] for row in table]),
    "columns in another order": lambda table: commas([row[::-1] for row in table]),
    "backslashes": lambda table: commas(table).replace("in/", "in\\"),
    "detours": lambda table: commas(table).replace("a.wav", "./in/../a.wav").replace("in/é", ".//in/./é"),
    "Unicode NFD": lambda table: normalize("NFD", commas(table)),
    "comments": lambda table: commas(table).replace("\n", "\n# a comment, with a comma\n#b.wav,angry,x,y\n"),
    "JSON lines": lambda table: "\n".join(json.dumps(row) for row in objects(table)),
    "JSON list": lambda table: json.dumps(objects(table), indent=1),
    "JSON with numbers, lists of words and capitals": lambda table: json.dumps(
        [
            {"Path": row["path"], "Emotions": row["emotions"].split(","), "speaker": row["speaker"]}
            | {"listener": 7.0}
            for row in objects(table)
        ]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_rows_to_both_readers(form: str, folder: Path):
    table = folder / "table.csv"
    table.write_bytes(FORMS[form](ROWS).encode())
    assert [example.pair for example in read_examples(table)] == [
        (folder / "a.wav", ("happy",)),
        (folder / "in/é.wav", ("sad", "very calm")),
    ]
    listing = read_manifest(table)
    assert [(row.utterance_id, row.audio, row.speaker) for row in listing.utterances] == [
        ("a.wav", "a.wav", "José"),
        ("in/é.wav", "in/é.wav", "José"),
    ]
    assert [(row.listener, row.emotions) for row in listing.annotations] == [
        ("7", ("happy",)),
        ("7", ("sad", "very calm")),
    ]


def rows(*lines: str) -> str:
    """Return a table with these lines, from line 2 on."""
    return "\n".join(["path,emotions,speaker,listener", *lines])


REFUSED = {
    "too many cells": (rows("a.wav,happy,sad,s,l"), "line 2: more cells than the 4 columns: .*emotions by ;"),
    "too many cells between semicolons": (
        "path;speaker;listener;emotions\na.wav;s;l;happy;sad",
        "line 2: more cells than the 4 columns: .*emotions by commas",
    ),
    "a cell in a column without a name": (
        "path,,emotions,speaker,listener\na.wav,x,sad,s,l",
        "line 2: 'x' is in a column without a name",
    ),
    "two columns of one name": (
        "path,emotions,Emotions ,speaker,listener\na.wav,sad,,s,l",
        r"the column emotions twice \(line 1\): keep one",
    ),
    "two keys of one name": ('{"path": "a.wav", "path": "b.wav"}', "line 1: not JSON .it has path twice"),
    "one clip twice": (rows("a.wav,sad,s,l", "", "./a.wav,happy,s,l"), "lines 2 and 4: .*a.wav.* twice"),
    "one clip in two Unicode forms": (
        rows("in/é.wav,sad,s,l", normalize("NFD", "in/é.wav,happy,s,l")),
        "lines 2 and 3: .* twice",
    ),
    "an open quotation mark": (
        rows('"a.wav,sad,s,l', "b.wav,sad,s,l"),
        "line 2: unexpected end of data: end",
    ),
    "text after a quotation mark": (
        rows('"a.wav" ,sad,s,l'),
        "line 2: ',' expected after '\"': end each cell",
    ),
    "no header": ("a.wav,sad,s,l\nb.wav,sad,s,l", r"no column path.* \(line 1\): name the columns there"),
    "a column of nearly that name": (
        "path,emotion,speaker,listener\na.wav,sad,s,l",
        r"no column emotions \(line 1\): .*rename emotion",
    ),
    "a JSON key of nearly that name": (
        '{"path": "a.wav", "emotion": "sad", "speaker": "s", "listener": "l"}',
        "line 1: no emotions: rename emotion to emotions",
    ),
    "a JSON key that is missing": (
        '[{"path": "a.wav", "speaker": "s", "listener": "l"}]',
        "line 1: no emotions: fill it in or remove",
    ),
    "another delimiter below the header": (rows("a.wav;sad;s;l"), "line 2: only one cell, .*by commas"),
    "an empty cell": (rows("a.wav,sad,s,l", "b.wav, ; ,s,l"), "line 3: no emotions: fill it in or remove"),
    "no rows": (rows(), "has no rows"),
    "nothing": ("", "has no rows"),
    "an object in a cell": ('\n{"path": {"0": "a.wav"}, "emotions": "x"}', "line 2: path is an object: give"),
    "a JSON list without an end": (
        '[{"path": "a.wav", "emotions": "x", "speaker": "s", "listener": "l"}',
        "not JSON",
    ),
    "a value that is no object": ('["a.wav"]', "line 1: not a JSON object: give one"),
    "an emotion that pandas did not know": (
        rows("a.wav,sad,s,l", "b.wav,NaN,s,l"),
        "line 3: emotions is 'nan', an empty cell: fill it in",
    ),
    "a list as pandas writes it": (
        rows("a.wav,\"['sad', 'happy']\",s,l"),
        r"line 2: emotions has '\['sad'', which is no label: separate labels by ;",
    ),
    "a list of JSON": (rows('a.wav,"[""sad""]",s,l'), "line 2: emotions has .*, which is no label"),
    "an array as numpy writes it": (rows("a.wav,['sad' 'happy'],s,l"), "line 2: emotions has .*is no label"),
    "labels between another mark": (rows("a.wav,sad|happy,s,l"), "line 2: emotions has 'sad.happy', which"),
    "a label in quotes": (rows("a.wav,'sad',s,l"), "line 2: emotions has ''sad'', which is no label"),
    "what was said": (rows(f"a.wav,{'word ' * 20},s,l"), r"line 2: emotions has '[word ]{40}\.\.\.', which"),
    "a workbook": (b"PK\x03\x04" + bytes(9), "is a workbook or an archive, no text: save it as CSV in UTF-8"),
    "a compressed table": (b"\x1f\x8b\x08" + bytes(9), "is compressed, no text: save it as CSV"),
    "UTF-16 without a mark": (rows().encode("utf-16-le"), "line 1: not text, it has a zero byte"),
    "latin-1": (
        rows("a.wav,sad,s,l", "é.wav,sad,s,l").encode("latin-1"),
        "line 3: not UTF-8: save it as UTF-8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_would_lose_data_is_refused_by_both_readers(case: str, folder: Path):
    text, message = REFUSED[case]
    table = folder / "table.csv"
    table.write_bytes(text.encode() if isinstance(text, str) else text)
    for read in (read_examples, read_manifest):
        with pytest.raises(UserError, match=rf"table\.csv.*({message})") as caught:
            read(table)
        assert "\n" not in str(caught.value)


def test_a_line_that_begins_with_the_name_of_a_file_is_no_comment(folder: Path):
    (folder / "table.csv").write_text("path,emotions\n#1.wav,sad\n#2.wav,sad\n")
    assert [example.pair for example in read_examples(folder / "table.csv")] == [
        (folder / "#1.wav", ("sad",))
    ]
    (folder / "table.csv").write_text("speaker,path,emotions,listener\n#1,a.wav,sad,me\n#2,b.wav,sad,me\n")
    assert [row.speaker for row in read_manifest(folder / "table.csv").utterances] == ["#1", "#2"]


def test_numbers_in_a_table_become_the_text_that_people_mean():
    values = (7, 7.0, 0.5, True, None, float("nan"), " 7 ", "e\u0301")
    assert [as_text(value) for value in values] == ["7", "7", "0.5", "true", "", "", "7", "é"]


def test_a_table_that_is_no_file_is_read_once(tmp_path: Path):
    """A pipe, such as that of `--examples <(...)`, cannot be read twice."""
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("path,emotions\na.wav,sad\n",))
    writer.start()
    assert [row.text("path") for row in read_table(pipe, ("path", "emotions"))] == ["a.wav"]
    writer.join()


def test_an_object_over_several_lines_is_told_how_to_be_written(tmp_path):
    (tmp_path / "a.jsonl").write_text('{\n "path": "a.wav",\n "emotions": "sad"\n}\n')
    with pytest.raises(
        UserError, match=r"line 1: not JSON .*: write each object on one line .* list in \[ \]"
    ):
        list(read_table(tmp_path / "a.jsonl", ["path"]))
