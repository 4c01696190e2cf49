"""Windows and macOS: every module can be imported without what only Linux, or only POSIX, has."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .test_contracts import PACKAGES, POSIX_ONLY

NEEDED_BY_LIBRARIES = ("posix", "pwd", "resource", "termios", "tty")
"""What libraries and Python itself import on Linux, in place of something else on Windows."""

IMPORT_ALL = """
import builtins, importlib, pkgutil, sys

packages, for_all, for_ours = {packages!r}, {for_all!r}, {for_ours!r}
sys.modules.update(dict.fromkeys(for_all))  # as on Windows: importing them fails
plain_import = builtins.__import__

def import_as_on_windows(name, globals=None, *arguments, **options):
    importer = (globals or {{}}).get("__name__", "")
    if importer.partition(".")[0] in packages and name.partition(".")[0] in for_ours:
        raise ModuleNotFoundError(f"{{importer}} imports {{name}}, which Windows does not have")
    return plain_import(name, globals, *arguments, **options)

builtins.__import__ = import_as_on_windows
names = []
for package in map(importlib.import_module, packages):
    for module in pkgutil.walk_packages(package.__path__, f"{{package.__name__}}."):
        if not module.name.endswith("__main__"):
            names.append(importlib.import_module(module.name).__name__)
print(len(names))
"""


def import_all(packages: list[str]) -> subprocess.CompletedProcess:
    for_all = [name for name in POSIX_ONLY if name not in NEEDED_BY_LIBRARIES]
    code = IMPORT_ALL.format(packages=packages, for_all=for_all, for_ours=[*POSIX_ONLY])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_every_module_is_imported_without_what_windows_lacks():
    done = import_all(PACKAGES)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 200


@pytest.mark.parametrize("statement", ["import fcntl", "from resource import getrusage", "import termios"])
def test_an_import_that_fails_on_windows_is_found(statement, tmp_path, monkeypatch):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    (tmp_path / "toy" / "a.py").write_text(f"{statement}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = import_all(["toy"])
    assert done.returncode != 0
    assert "Error" in done.stderr
