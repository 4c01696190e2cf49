"""The rules of the code: imports, sizes and names of files, entry points, pinned versions."""

from __future__ import annotations

import ast
import inspect
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from perser.corpora.listing import CorpusReader
from perser.installed_routes import method_routes
from perser.route import Route

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

MOST_LINES, FEWEST_LINES = 400, 40
"""Of a file."""
MOST_FUNCTION_LINES = 60
MOST_MODULES = 15
"""Of a folder, `__init__.py` not counted."""

POSIX_ONLY = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty")
"""Modules of Python that are missing on Windows."""

LONG_FUNCTIONS = {
    "perser/training/loop.py:fit": "the one training loop: its arguments and what they mean are half of it",
    "meta_perser/pretrain.py:pretrain": "a stage's command: its options and their help are half of it",
    "meta_perser/train.py:meta_train": "a stage's command: its options and their help are half of it",
    "benchmarks/icl_controls.py:icl_controls": "a command: its options and their help are half of it",
    "benchmarks/run.py:bench": "a command: its options and their help are half of it",
    "benchmarks/few_shot/__main__.py:few_shot": "a command: its options and their help are half of it",
    "speechlm_icl/train.py:icl_train": "a stage's command: its options and their help are half of it",
}
"""Functions of more lines, and why they are not cut."""

SHORT_FILES = {
    "perser/cli": "one file a command",
    "perser/adjustments/blas_threads.py": "answers about clips import it, and not torch",
    "perser/corpora/huggingface_options.py": "`perser prepare --help` reads it without importing datasets",
    "perser/encoders/weight_norm.py": "a corrected copy of one function of torch",
    "perser/io/json_files.py": "read everywhere, by code that needs nothing else of perser.io",
    "perser/training/options.py": "the --help of every training reads it without importing torch",
    "meta_perser/auto.py": "importing it registers the model with transformers",
    "speechlm_icl/auto.py": "importing it registers the model with transformers",
    "speechlm_icl/projectors": "one file a projector",
    "speechlm_icl/training/optimizer.py": "the command checks it before the model is loaded",
    "benchmarks/quickstart.py": "one file a command",
}
"""Files of fewer lines, or folders of such files, and why they stand alone."""


def python_files() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def lines_of(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def entries(group: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, group) for name, value in PROJECT["entry-points"].get(group, {}).items()]


# What may import what.


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True)


def test_the_import_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy_of_the_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("perser", "meta_perser"),
        ("perser", "speechlm_icl"),
        ("perser", "benchmarks"),
        ("meta_perser", "speechlm_icl"),
        ("speechlm_icl", "meta_perser"),
        ("meta_perser", "benchmarks"),
        ("speechlm_icl", "benchmarks"),
        ("perser.io", "perser.training"),
        ("meta_perser.recognizer", "meta_perser.adaptation"),
        ("speechlm_icl.prompt", "speechlm_icl.scoring"),
        ("benchmarks.measuring", "benchmarks.reporting"),
    ],
)
def test_an_import_upwards_or_across_is_caught(copy_of_the_code, importer, imported):
    module = copy_of_the_code.joinpath(*importer.split("."), "wrong.py")
    module.write_text(f"def late():\n    import {imported}\n")
    try:
        done = lint_imports(copy_of_the_code)
    finally:
        module.unlink()
    assert done.returncode == 1
    assert f"{importer}.wrong -> {imported}" in done.stdout


def test_every_package_has_a_layer_and_layers_of_its_own():
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages == set(PACKAGES)
    between, *inside = CONTRACTS
    assert {name.strip() for layer in between["layers"] for name in layer.split("|")} == packages
    assert [package for contract in inside for package in contract["containers"]] == PACKAGES
    assert all(contract["exhaustive"] for contract in inside)


def imports_by_module(root: Path, packages: list[str]) -> dict[str, set[str]]:
    """Return the modules of the packages that each of them imports, at its top or anywhere inside."""
    files = {
        file: file.relative_to(root).with_suffix("").parts
        for p in packages
        for file in (root / p).rglob("*.py")
    }
    modules = {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in files.items()
    }
    graph = {}
    for module, file in modules.items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        names = imported_names(ast.parse(file.read_text(encoding="utf-8")), package)
        graph[module] = {
            name if name in modules else name.rpartition(".")[0] for name in names
        } & modules.keys()
    return graph


def imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield what a module imports, as `module` or `module.name`. `package`: that of its relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, [above, node.module]))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules of which each imports the next and the last is the first again; none: an empty list."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_module_imports_itself_through_others():
    """Imports inside functions and under TYPE_CHECKING count."""
    graph = imports_by_module(ROOT, PACKAGES)
    assert len(graph) > 200
    assert circle(graph) == []


@pytest.mark.parametrize(
    "statement",
    ["import toy.a", "from toy import a", "from toy.a import x", "from . import a", "from .a import x"],
)
def test_a_circle_is_found_however_it_is_written(statement, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/__init__.py").touch()
    (tmp_path / "toy/a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.b\n"
    )
    assert circle(imports_by_module(tmp_path, ["toy"])) == []
    (tmp_path / "toy/b.py").write_text(f"def late():\n    {statement}\n")
    found = circle(imports_by_module(tmp_path, ["toy"]))
    assert found[0] == found[-1]
    assert set(found) == {"toy.a", "toy.b"}


def importers_of(*packages: str) -> set[str]:
    return {
        name_of(file)
        for file in python_files()
        if any(name.split(".")[0] in packages for name in imported_names(tree_of(file), ""))
    }


def test_no_module_imports_what_is_missing_on_windows():
    assert importers_of(*POSIX_ONLY) == set()


def test_one_module_draws_progress_bars():
    """All others call `progress_bar`, which keeps to a line a minute where there is no terminal."""
    assert importers_of("tqdm") == {"perser/progress.py"}


# Files, folders and functions.


def folders() -> list[Path]:
    return sorted({file.parent for file in python_files()})


@pytest.mark.parametrize("folder", folders(), ids=name_of)
def test_a_folder_says_in_one_line_what_it_holds(folder):
    """More may follow after an empty line."""
    first, *rest = (ast.get_docstring(tree_of(folder / "__init__.py")) or "").splitlines() or [""]
    assert len(first.split()) >= 4
    assert first.endswith(".")
    assert not rest or not rest[0]


def test_no_folder_has_too_many_modules():
    counts = {name_of(folder): len([*folder.glob("*.py")]) - 1 for folder in folders()}
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_no_file_is_too_long():
    lengths = {name_of(file): lines_of(file) for file in python_files()}
    assert {file: count for file, count in lengths.items() if count > MOST_LINES} == {}


def test_a_short_file_has_a_reason():
    short = [
        file
        for file in python_files()
        if lines_of(file) < FEWEST_LINES and file.name not in ("__init__.py", "__main__.py")
    ]
    without = [
        name_of(file) for file in short if not {name_of(file), name_of(file.parent)} & SHORT_FILES.keys()
    ]
    assert without == []
    assert [path for path in SHORT_FILES if not (ROOT / path).exists()] == []


def test_no_function_is_too_long():
    lengths = {
        f"{name_of(file)}:{node.name}": node.end_lineno - node.lineno + 1
        for file in python_files()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    too_long = {function: count for function, count in lengths.items() if count > MOST_FUNCTION_LINES}
    assert too_long.keys() == LONG_FUNCTIONS.keys(), too_long


def test_no_file_is_named_for_nothing():
    assert [
        name_of(file) for file in python_files() if file.stem in ("utils", "util", "helpers", "misc")
    ] == []


def test_no_placeholder_is_left():
    texts = {name_of(file): file.read_text(encoding="utf-8") for file in python_files()}
    assert [file for file, text in texts.items() if "TODO" in text or "REORG" in text] == []


def test_every_text_file_is_opened_with_an_encoding():
    """Without one, it is that of the machine, and files written on one machine cannot be read on another."""
    assert [
        f"{name_of(file)}:{node.lineno}"
        for file in python_files()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and opens_text(node) and not names_encoding(node)
    ] == []


def opens_text(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name == "open":
        words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+")]
        return "b" not in "".join(modes) and bool(modes or not call.args)
    return name in ("read_text", "write_text", "fdopen")


def names_encoding(call: ast.Call) -> bool:
    named = {keyword.arg for keyword in call.keywords}
    words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    return "encoding" in named or "utf-8" in words


def test_no_class_name_is_used_twice():
    places = defaultdict(list)
    for file in python_files():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


# Entry points and requirements.


@pytest.mark.parametrize("entry", entries("perser.commands"), ids=lambda entry: entry.name)
def test_a_command_says_what_it_does(entry):
    assert inspect.getdoc(entry.load())


@pytest.mark.parametrize("entry", entries("perser.corpora"), ids=lambda entry: entry.name)
def test_a_corpus_is_read_from_a_root_or_made(entry):
    first, *options = inspect.signature(CorpusReader.of(entry.load()).read).parameters.values()
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
            name, version = line.split("==")  # exact versions only: no address, no path
            pins[canonicalize_name(name)] = version
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name != PROJECT["name"]:
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)
