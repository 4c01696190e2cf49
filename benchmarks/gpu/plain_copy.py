"""Make a plain copy of the source tree run on a bare machine: wheels, and perser's entry points.

Nothing is installed. What the machine lacks is unpacked into a folder that PYTHONPATH then names.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]

WHEELS = ROOT / "gpu_wheels"
"""Where `benchmarks/gpu_wheels.sh` puts them."""


def environment_of_parts(
    folder: Path, wheels: Path = WHEELS, root: Path = ROOT, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables with which a process finds this source tree and every package of the wheels.

    Args:
        folder: where missing packages are unpacked.
        wheels: a folder of wheels, which need not exist.
        root: of the source tree.
        base: the variables to add to.
    """
    for wheel in missing_wheels(wheels):
        with ZipFile(wheel) as archive:
            archive.extractall(folder)
    if not _is_installed("perser"):
        write_entry_points(root / "pyproject.toml", folder)
    paths = [str(root), str(folder), *filter(None, [base.get("PYTHONPATH")])]
    return {**base, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}


def missing_wheels(wheels: Path) -> Iterator[Path]:
    """Yield the wheels of packages that are not installed."""
    for wheel in sorted(wheels.glob("*.whl")):
        if not _is_installed(wheel.name.partition("-")[0]):
            yield wheel


def write_entry_points(pyproject: Path, folder: Path) -> None:
    """Write the metadata by which Python finds commands, corpora and routes that are not installed."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()), ""]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")


def use(environment: Mapping[str, str]) -> None:
    """Let this process, too, find what the variables name."""
    known = set(sys.path)
    sys.path[:0] = [path for path in environment["PYTHONPATH"].split(os.pathsep) if path not in known]


def _is_installed(name: str) -> bool:
    try:
        distribution(re.sub("_", "-", name))
    except PackageNotFoundError:
        return False
    return True
