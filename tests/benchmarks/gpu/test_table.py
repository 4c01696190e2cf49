"""The printed table and the page hold every finding of a gpu.json."""

from __future__ import annotations

import pytest

from benchmarks.gpu.findings import Finding
from benchmarks.gpu.parts import RESULTS, save_results
from benchmarks.gpu.table import gpu_page, print_results, write_page
from perser.errors import UserError

FINDINGS = [
    Finding("environment", "GPU", "skipped", "needs a GPU: torch finds none"),
    Finding("smoke", "pretrain", "passed", "loss 2 | 1 <now> [x]", 1.25, {"loss": 1.0}),
    Finding("smoke", "meta-train", "failed", "ValueError: no", 0.5),
]


@pytest.fixture
def results(on_cpu):
    save_results(on_cpu, FINDINGS, {"environment": 2.0, "smoke": 3.4})
    return on_cpu.folder / RESULTS


def test_the_table_has_a_row_for_each_finding_and_a_summary(results, capsys):
    print_results(results)
    printed = capsys.readouterr().out
    assert all(finding.check in printed and finding.text in printed for finding in FINDINGS)
    assert "1 passed, 1 failed, 1 skipped, without a GPU, in 5 s" in printed


def test_the_page_has_a_section_for_each_part_and_escapes_texts(results, tmp_path):
    out = tmp_path / "results" / "gpu.md"
    write_page(results, out)
    page = out.read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## environment", "## smoke"]
    assert "| pretrain | passed | 1.2 | loss 2 \\| 1 &lt;now> [x] |" in page
    assert "1 passed, 1 failed, 1 skipped, without a GPU, in 5 s (--quick)." in page


def test_a_page_of_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"run `python -m benchmarks\.gpu`"):
        gpu_page(tmp_path / "gpu.json", tmp_path / "gpu.md")
