"""Write a trained model as a folder for the Hugging Face Hub."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from perser.errors import UserError
from perser.export.model_card import model_card
from perser.export.run_record import RunRecord, record_of
from perser.installed_routes import installed_routes
from perser.io.files import atomic_folder
from perser.io.hub import SAFE_FILES, check_hub_name
from perser.io.model_facts import ModelFacts
from perser.route import Exported
from perser.training.run import NOTES

FORMAT = "perser-export-1"

MARKER = "perser_export.json"
"""A file that every exported folder has."""


def export_folder(
    folder: Path,
    out: Path,
    run: Path | None = None,
    *,
    name: str | None = None,
    license: str | None = None,
    languages: tuple[str, ...] = (),
) -> None:
    """Write the model in `folder` to `out` with everything that it needs, and a model card (README.md).

    Args:
        folder: Folder of a trained model.
        out: A new or empty folder, or one that this function wrote before.
        run: The run that trained and measured the model; when None, RUN where the model is RUN/models/NAME.
        name, license, languages: For the card.

    Raises UserError for a name that the Hub does not allow, and where the folder holds no model, a model that
    it needs is gone, or `out` holds other files.
    """
    if name is not None:
        check_hub_name(name)
    with atomic_folder(out, marker=MARKER) as written:
        facts, exported = export_files(folder, written)
        is_in_a_run = run is not None or folder.resolve().parent.name == "models"
        record = record_of(folder, run, exported) if is_in_a_run else RunRecord()
        about = {"format": FORMAT, "route": facts.route, "perser": version("perser")}
        (written / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        card = model_card(facts, exported, record, name or out.resolve().name, name, license, languages)
        (written / "README.md").write_text(card, encoding="utf-8")


def export_files(folder: Path, out: Path) -> tuple[ModelFacts, Exported]:
    """Have its route write the model in `folder` to `out`, and return what the files there say.

    Raises UserError where no installed route can export it.
    """
    for route in installed_routes():
        if route.facts is None or route.facts(folder) is None:
            continue
        if route.export is None:
            raise UserError(
                f"{folder} holds a model of {route.name}, which this command does not take: share the folder "
                "itself, together with any model that it names"
            )
        exported = route.export(folder, out)
        facts = route.facts(out)
        assert facts is not None  # the export has just written the model
        return facts, exported
    raise UserError(f"{folder} holds no model of an installed route that can be exported")


def copy_safe_files(source: Path, out: Path) -> None:
    """Copy a folder's weights, settings and vocabularies (`SAFE_FILES`), without its subfolders.

    What a training noted (`NOTES`) stays behind: it names recordings and folders of this machine.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {file for pattern in SAFE_FILES for file in source.glob(pattern) if file.is_file()}
    for file in sorted(file for file in files if file.name not in NOTES):
        shutil.copyfile(file, out / file.name)
