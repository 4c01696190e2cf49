"""perser models [FOLDER]: list the trained models on this machine, and what each needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perser.cli.command import Command
from perser.errors import UserError
from perser.io.terminal import print_json


def models(folder: Path = Path("runs"), json: bool = False) -> None:
    """List the trained models on this machine, what each needs, and which of them work without a network.

    Args:
        folder: where to look, at any depth; --folder may be left out before it.
        json: whether to print JSON instead of text.

    Examples:
        perser models runs
    """
    from perser.installed_routes import find_models
    from perser.io.folders import did_you_mean
    from perser.starter import NAMES

    if folder.is_file():
        raise UserError(f"folder: {folder} is a file: give a folder with trained models")
    if not folder.is_dir():
        raise UserError(
            f"folder: {folder} is not there{did_you_mean(folder)}: give a folder with trained models"
        )
    rows: list[dict[str, Any]] = [
        {
            "path": str(path),
            "route": facts.route,
            "emotions": list(facts.emotions),
            "needs": facts.places,
            "works_offline": facts.works_offline,
        }
        for path, facts in find_models(folder)
    ]
    if json:
        print_json(rows)
        return
    for row in rows:
        needs = ", ".join(f"{name} ({place})" for name, place in row["needs"].items())
        print(f"{row['path']} ({row['route']})")
        print(f"    emotions: {', '.join(row['emotions'])}")
        print(f"    needs: {needs or 'nothing else'}")
        print(f"    works without a network: {'yes' if row['works_offline'] else 'no'}")
    if not rows:
        print(
            f"no trained model in {folder}: `perser quickstart` trains some; {' and '.join(NAMES)} come "
            "with perser"
        )


COMMAND = Command(models, first="folder")
