"""docs/robustness.md names every test in tests/hostile once, and no test that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\|.*\| `(tests/[\w/]+\.py::\w+)` \|$", re.MULTILINE)


def test_every_row_names_a_test_and_every_hostile_test_has_a_row():
    named = ROW.findall((ROOT / "docs" / "robustness.md").read_text(encoding="utf-8"))
    files = {ROOT / test.partition("::")[0] for test in named}
    hostile = {*(ROOT / "tests" / "hostile").glob("test_*.py")}
    assert len(named) == len(set(named))
    assert {*named} <= names_in(files)
    assert names_in(hostile) <= {*named}
    assert names_in(hostile)


def names_in(files: set[Path]) -> set[str]:
    return {
        f"{path.relative_to(ROOT).as_posix()}::{node.name}"
        for path in files
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
