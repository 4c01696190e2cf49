from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.published_tables import read_header, read_rows
from perser.errors import UserError

CELLS = st.lists(st.text('ab ",;é', max_size=6), min_size=2, max_size=2)


@given(cells=st.lists(CELLS, max_size=5), bom=st.booleans(), ends=st.sampled_from(["\n", "\r\n"]))
def test_csv_cells_round_trip_with_line_numbers(cells: list[list[str]], bom: bool, ends: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as stream:
            csv.writer(stream, lineterminator=ends).writerows([["one", "two"], *cells])
        found = list(read_rows(path, ("two", "one")))
        assert read_header(path) == ["one", "two"]
    assert [(row["one"], row["two"]) for _, row in found] == [(a.strip(), b.strip()) for a, b in cells]
    assert [line for line, _ in found] == list(range(2, len(cells) + 2))


@given(cells=st.lists(CELLS, max_size=5))
def test_tsv_cells_may_hold_quotation_marks(cells: list[list[str]]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.TSV"
        lines = ["one\ttwo", *(f"x{a}\t{b}" for a, b in cells)]
        path.write_text("\n".join(lines), encoding="utf-8")
        found = [(row["one"], row["two"]) for _, row in read_rows(path, ("one",))]
    assert found == [(f"x{a}".strip(), b.strip()) for a, b in cells]


def test_short_and_long_rows_are_accepted(tmp_path: Path):
    (tmp_path / "table.csv").write_text("one,two\na\nb,c,d\n")
    assert [row for _, row in read_rows(tmp_path / "table.csv", ("one", "two"))] == [
        {"one": "a", "two": ""},
        {"one": "b", "two": "c"},
    ]


def test_a_wrong_table_is_refused(tmp_path: Path):
    path = tmp_path / "table.csv"
    for read in (read_header, lambda table: list(read_rows(table, ("one",)))):
        with pytest.raises(UserError, match=r"table.csv is not there"):
            read(path)
    path.write_text("one,two\n")
    with pytest.raises(UserError, match="no column 'three', 'four'"):
        list(read_rows(path, ("one", "three", "four")))
    path.write_bytes(b"one\n\xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        list(read_rows(path, ("one",)))
