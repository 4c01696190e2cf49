"""A plain copy of the tree finds its entry points, and packages in wheels that nobody installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks.gpu import plain_copy
from benchmarks.gpu.plain_copy import ROOT, environment_of_parts, missing_wheels, write_entry_points


@pytest.fixture
def wheels(tmp_path) -> Path:
    """Two wheels: one of a package that is installed, one of a package that is not."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("torch", "nowhere_to_be_found"):
        with ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}.py", "VALUE = 7\n")
            archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n")
    return folder


def test_only_missing_packages_are_taken_from_wheels(wheels, tmp_path):
    assert [wheel.name.partition("-")[0] for wheel in missing_wheels(wheels)] == ["nowhere_to_be_found"]
    assert list(missing_wheels(tmp_path / "no such folder")) == []


def test_a_process_of_a_part_imports_a_package_from_a_wheel(wheels, tmp_path):
    environment = environment_of_parts(tmp_path / "packages", wheels, base={"PATH": "/bin"})
    code = "import nowhere_to_be_found as found, benchmarks.gpu; print(found.VALUE)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "7\n", done.stderr
    assert not (tmp_path / "packages" / "torch.py").exists()


def test_entry_points_are_found_without_an_installation(tmp_path):
    write_entry_points(ROOT / "pyproject.toml", tmp_path)
    (perser,) = distributions(path=[str(tmp_path)])
    assert perser.metadata["Name"] == "perser"
    routes = {entry.name: entry.value for entry in perser.entry_points if entry.group == "perser.routes"}
    assert routes["speech-lm"] == "speechlm_icl.route:ROUTE"


def test_entry_points_are_written_only_where_perser_is_not_installed(tmp_path, monkeypatch):
    environment_of_parts(tmp_path / "a", tmp_path)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(plain_copy, "_is_installed", lambda name: False)
    environment_of_parts(tmp_path / "b", tmp_path)
    assert len(list((tmp_path / "b").glob("perser-*.dist-info/entry_points.txt"))) == 1
