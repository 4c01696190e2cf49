"""The worked example of a page of the documents, installed as a package of somebody else's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from perser.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class WorkedExample:
    """The one block of each language on a page: `python` is the package's module, `toml` its project file,
    `bash` what is done with it."""

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
        """What pip would leave in the folder `site`: the module, and its name and entry points."""
        project = tomllib.loads(self.blocks["toml"])["project"]
        site.mkdir()
        (site / f"{self.module}.py").write_text(self.blocks["python"])
        name, version = project["name"], project["version"]
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        [(group, members)] = project["entry-points"].items()
        lines = [f"[{group}]", *(f"{key} = {value}" for key, value in members.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        return site

    def run(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Install it, and do what the page does with it."""
        monkeypatch.syspath_prepend(self.install(site))
        try:
            for line in self.commands:
                program, *arguments = shlex.split(line)
                assert program == "perser"
                main(arguments)
        finally:
            sys.modules.pop(self.module, None)

    def check_format(self, folder: Path) -> None:
        """That the module is formatted as the rest is."""
        (folder / f"{self.module}.py").write_text(self.blocks["python"])
        command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "110", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
