"""A check passes, fails or is skipped, and what it found is on the disk at once."""

from __future__ import annotations

import pytest

from benchmarks.gpu.findings import (
    Finding,
    NotHere,
    Seen,
    read_findings,
    require,
    run_check,
    write_finding,
)


def test_a_check_gives_its_text_figures_and_status():
    good = run_check("smoke", "pretrain", lambda: Seen("8 steps", {"loss": 1.5}))
    bad = run_check("smoke", "pretrain", lambda: Seen("no step", passed=False))
    assert (good.status, good.text, good.figures) == ("passed", "8 steps", {"loss": 1.5})
    assert (bad.status, bad.text) == ("failed", "no step")
    assert good.seconds >= 0


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotHere("needs a GPU"), "skipped", "needs a GPU"),
        (ModuleNotFoundError("x", name="higher"), "skipped", "needs higher, not installed here"),
        (ValueError("two\nlines"), "failed", "ValueError: two lines"),
        (SystemExit(143), "failed", "SystemExit: 143"),
    ],
)
def test_an_error_does_not_end_the_part(error, status, text):
    def check():
        raise error

    finding = run_check("smoke", "pretrain", check)
    assert (finding.status, finding.text) == (status, text)


def test_a_check_is_skipped_without_its_packages():
    require("torch")
    with pytest.raises(NotHere, match="needs nowhere_to_be_found, not installed here"):
        require("torch", "nowhere_to_be_found")


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "part" / "smoke.jsonl"
    written = [Finding("smoke", name, "passed", "fine", 1.0, {"loss": 2.0}) for name in ("a", "b")]
    assert list(read_findings(file)) == []
    for finding in written:
        write_finding(file, finding)
    with file.open("a") as stream:
        stream.write('{"part": "smo')
    assert list(read_findings(file)) == written
