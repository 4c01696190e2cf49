"""Parts run in processes of their own, within their time, and gpu.json has whatever was found."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu import parts as parts_module
from benchmarks.gpu.findings import Seen, read_findings
from benchmarks.gpu.parts import (
    MOST_SECONDS,
    PARTS,
    RESULTS,
    Part,
    findings_file,
    part_command,
    run_part,
    run_parts,
)

ROOT = Path(__file__).parents[3]

WRITE = """
import sys, time
from pathlib import Path
from benchmarks.gpu.findings import Finding, write_finding
for name in ("first", "second"):
    write_finding(Path(sys.argv[1]), Finding("toy", name, "passed", "fine"))
"""


@pytest.fixture
def run_toy(monkeypatch, on_cpu):
    """A function that runs one part, made of this code, and returns the content of gpu.json."""

    def run(code: str, seconds: float = 60.0):
        def command(name, settings):
            return [sys.executable, "-c", WRITE + code, str(findings_file(settings.folder, name))]

        monkeypatch.setattr(parts_module, "part_command", command)
        shown = []
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        found = run_parts(on_cpu, shown.append, {"toy": Part("toy", seconds)}, environment)
        assert shown == found
        return json.loads((on_cpu.folder / RESULTS).read_text())

    return run


def statuses(content) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in content["findings"]}


def test_the_limits_add_up_to_less_than_eight_minutes():
    assert sum(part.seconds for part in PARTS.values()) < MOST_SECONDS
    assert all(hasattr(import_module(part.module), "checks") for part in PARTS.values())


def test_what_a_part_found_is_kept(run_toy):
    content = run_toy("")
    assert statuses(content) == {"first": "passed", "second": "passed"}
    assert (content["device"], content["quick"]) == ("cpu", True)
    assert content["seconds"]["toy"] > 0


def test_a_part_that_takes_too_long_is_stopped_and_what_it_found_is_kept(run_toy):
    content = run_toy("time.sleep(600)", seconds=5.0)
    assert statuses(content) == {"first": "passed", "second": "passed", "time limit": "failed"}
    assert content["findings"][-1]["text"] == "stopped after 5 s"


def test_a_part_whose_process_dies_has_failed(run_toy):
    content = run_toy("sys.exit(3)")
    assert statuses(content)["process"] == "failed"
    assert "status 3" in content["findings"][-1]["text"]


def test_the_command_of_a_part_says_quick_only_where_it_is(on_cpu):
    command = part_command("smoke", on_cpu)
    assert command[1:4] == ["-m", "benchmarks.gpu", "--part=smoke"]
    assert command[-1] == "--quick"
    assert "--quick" not in part_command("smoke", replace(on_cpu, quick=False))


def test_a_part_makes_its_checks_in_a_folder_of_its_own(on_cpu, monkeypatch):
    def checks(settings):
        yield "folder", lambda: Seen(settings.folder.name)
        yield "broken", lambda: 1 / 0

    monkeypatch.setattr(parts_module, "import_module", lambda name: SimpleNamespace(checks=checks))
    run_part("smoke", on_cpu)
    first, second = read_findings(findings_file(on_cpu.folder, "smoke"))
    assert (first.text, first.status) == ("smoke", "passed")
    assert second.status == "failed"


def test_a_part_that_cannot_be_imported_is_skipped_with_the_reason(on_cpu, monkeypatch):
    def import_nothing(name):
        raise ModuleNotFoundError("no", name="soundfile")

    monkeypatch.setattr(parts_module, "import_module", import_nothing)
    run_part("smoke", on_cpu)
    (finding,) = read_findings(findings_file(on_cpu.folder, "smoke"))
    assert (finding.status, finding.text) == ("skipped", "needs soundfile, not installed here")
