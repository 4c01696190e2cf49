"""Packages outside this repository: the worked example of a page of the documents, and how one is
installed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from perser.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def install_package(
    site: Path, module: str, source: str, entry_points: Mapping[str, Mapping[str, str]], version: str = "1.0"
) -> Path:
    """Write what pip would leave in the folder `site`: a package of one module, and its entry points by
    group."""
    site.mkdir()
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    info = site / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in members.items())])
        for group, members in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return site


@dataclass(frozen=True)
class WorkedExample:
    """The one code block of each language on a page: `python` is the package's module, `toml` its project
    file, `bash` the commands that use it."""

    blocks: dict[str, str]

    @classmethod
    def of(cls, page: str) -> WorkedExample:
        return cls(dict(FENCE.findall((DOCS / page).read_text(encoding="utf-8"))))

    @property
    def module(self) -> str:
        [name] = tomllib.loads(self.blocks["toml"])["tool"]["setuptools"]["py-modules"]
        return name

    @property
    def commands(self) -> list[str]:
        return self.blocks["bash"].replace("\\\n", " ").splitlines()

    def install(self, site: Path) -> Path:
        """Install the package into the folder `site`."""
        project = tomllib.loads(self.blocks["toml"])["project"]
        assert project["name"].replace("-", "_") == self.module
        return install_package(
            site, self.module, self.blocks["python"], project["entry-points"], project["version"]
        )

    def run(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Install the package and run the page's commands."""
        monkeypatch.syspath_prepend(self.install(site))
        try:
            for line in self.commands:
                program, *arguments = shlex.split(line)
                assert program == "perser"
                main(arguments)
        finally:
            sys.modules.pop(self.module, None)

    def check_format(self, folder: Path) -> None:
        """Fail unless the module is formatted as this repository is."""
        (folder / f"{self.module}.py").write_text(self.blocks["python"])
        command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "110", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
