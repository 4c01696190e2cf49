"""The command's exit status and files; the parts themselves have tests of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.gpu import parts, table
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.findings import Finding
from benchmarks.gpu.parts import RESULTS, save_results


@pytest.mark.parametrize(("status", "expected"), [("passed", 0), ("skipped", 0), ("failed", 1)])
def test_the_exit_status_is_one_only_if_a_check_failed(status, expected, tmp_path, monkeypatch, capsys):
    def run(settings, show, chosen, environment):
        assert list(chosen) == ["smoke", "shapes"]
        findings = [Finding("smoke", "pretrain", status, "it was so")]
        save_results(settings, findings, {"smoke": 1.0})
        return findings

    monkeypatch.setattr(parts, "run_parts", run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    chosen = ["--parts", "shapes", "smoke"]
    assert main(["--quick", "--out", str(tmp_path / "gpu"), *chosen]) == expected
    assert "it was so" in capsys.readouterr().out
    assert (tmp_path / "gpu" / RESULTS).is_file()
    assert "| pretrain |" in (tmp_path / "gpu" / "gpu.md").read_text()
    assert table.read_results(tmp_path / "gpu" / RESULTS)["quick"]


def test_an_unknown_part_is_refused_with_the_names_of_all(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "gpu"), "--parts", "shape"])
    assert "no part is called shape; the parts are environment, agreement, " in capsys.readouterr().err
    assert not (tmp_path / "gpu" / RESULTS).exists()


@pytest.mark.parametrize("place", ["file", "file/x"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(place, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / place)])
    assert f"--out: cannot write {tmp_path / place} (Not a directory)" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_part_runs_in_a_process_and_says_what_needs_a_gpu(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--part=environment", f"--out={tmp_path}", "--quick"]
    assert subprocess.run(command).returncode == 0
    findings = {finding.check: finding for finding in parts.read_findings(tmp_path / "environment.jsonl")}
    assert findings["GPU"].status in ("passed", "skipped")
    assert findings["packages"].status == "passed"
