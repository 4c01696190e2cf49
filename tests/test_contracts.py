"""The house's own rules: which floor may import which, what an entry point must look like, what is pinned."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from perser.installed_routes import method_routes
from perser.route import Route

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]
MOST_LINES = 400
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True)


def entries(group: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, group) for name, value in PROJECT["entry-points"][group].items()]


def test_the_import_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copied_house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", house)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, house / package, ignore=shutil.ignore_patterns("__pycache__"))
    return house


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("perser", "meta_perser"),
        ("perser", "speechlm_icl"),
        ("perser", "benchmarks"),
        ("meta_perser", "speechlm_icl"),
        ("speechlm_icl", "meta_perser"),
        ("meta_perser", "benchmarks"),
        ("speechlm_icl", "benchmarks"),
    ],
)
def test_an_arrow_that_runs_up_or_across_is_caught(copied_house, lower, upper):
    wrong = copied_house / lower / "wrong.py"
    wrong.write_text(f"def late():\n    import {upper}\n")
    try:
        done = lint_imports(copied_house)
    finally:
        wrong.unlink()
    assert done.returncode == 1
    assert f"{lower}.wrong -> {upper}" in done.stdout


def test_every_package_stands_on_a_floor():
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages == set(PACKAGES)
    layers = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert {name.strip() for layer in layers for name in layer.split("|")} == packages


def test_files_are_small_and_named_for_what_they_do():
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: count for file, count in lengths.items() if count > MOST_LINES} == {}
    assert [file for file in files if file.stem in ("utils", "util", "helpers", "misc")] == []


@pytest.mark.parametrize("entry", entries("perser.commands"), ids=lambda entry: entry.name)
def test_a_command_says_what_it_does(entry):
    assert inspect.getdoc(entry.load())


@pytest.mark.parametrize("entry", entries("perser.corpora"), ids=lambda entry: entry.name)
def test_a_corpus_is_read_from_a_root_or_made(entry):
    first, *options = inspect.signature(entry.load()).parameters.values()
    assert first.name in ("root", "audio_out")
    assert all(option.default is not inspect.Parameter.empty for option in options)


@pytest.mark.parametrize("entry", entries("perser.routes"), ids=lambda entry: entry.name)
def test_a_route_has_the_name_of_its_entry_and_knows_its_models(entry):
    route = entry.load()
    assert isinstance(route, Route)
    assert route.name == entry.name
    assert route.needs.keys() <= route.methods.keys()
    keys = {training.key for training in route.train}
    assert {model.training for model in route.models} <= keys


@pytest.mark.parametrize(("method", "route"), method_routes().items(), ids=method_routes())
def test_a_method_is_made_from_a_context_and_a_number_of_pairs(method, route):
    parameters = inspect.signature(route.factory(method)).parameters
    assert list(parameters) == ["context", "pairs"]
    assert parameters["pairs"].default is None


def test_routes_load_without_torch():
    code = (
        "import sys; from perser.installed_routes import load_routes; routes = load_routes().values();"
        "sys.exit('torch' in sys.modules or any(isinstance(route, Exception) for route in routes))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_requirement_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, version = line.split("==")  # nothing but exact versions: no address, no path
            pins[canonicalize_name(name)] = version
    extras = PROJECT["optional-dependencies"].values()
    wanted = [Requirement(one) for group in (PROJECT["dependencies"], *extras) for one in group]
    for requirement in wanted:
        if requirement.name != PROJECT["name"]:
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)
