"""The built package: what people get who do not clone the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("perser", "meta_perser", "speechlm_icl", "benchmarks")


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source archive of a copy of the tracked files, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("package")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout, so that nobody knows which files belong to the project")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=folder / "tree")
    return folder


def test_the_wheel_has_every_file_of_the_packages(built: Path):
    wheel = next(built.glob("*.whl"))
    packed = set(zipfile.ZipFile(wheel).namelist())
    missing = [
        name
        for package in PACKAGES
        for path in (built / "tree" / package).rglob("*")
        if path.is_file()
        and "results" not in path.parts  # the tables of measured runs belong to the repository
        and path.suffix not in {".md", ".sh"}
        and (name := path.relative_to(built / "tree").as_posix()) not in packed
    ]
    assert not missing


def test_the_source_archive_has_the_license_and_the_readme(built: Path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_wheel_runs_in_an_environment_of_its_own(built: Path):
    """The environment sees the installed dependencies, but not this checkout."""
    environment = built / "environment"
    run(sys.executable, "-m", "venv", "--system-site-packages", environment, cwd=built)
    python = environment / "bin" / "python"
    site = run(sys.executable, "-c", "import torch; print(torch.__path__[0])", cwd=built).strip()
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", next(built.glob("*.whl")), cwd=built)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{Path(site).parent}\n", encoding="utf-8")
    program = environment / "bin" / "perser"
    where = run(python, "-c", "import perser; print(perser.__file__)", cwd=built)
    assert str(environment) in where
    assert "quickstart" in run(program, "--help", cwd=built)
    assert run(program, "--version", cwd=built).startswith("perser ")
    assert "simulated" in run(program, "bench", "--list", cwd=built)
