"""A trained model as a folder for the Hugging Face Hub."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from perser.export.contract import export_files
from perser.export.model_card import model_card
from perser.export.run_record import RunRecord, record_of
from perser.io.files import atomic_folder

FORMAT = "perser-export-1"


def export_folder(
    folder: Path,
    out: Path,
    run: Path | None = None,
    *,
    name: str | None = None,
    license: str | None = None,
    languages: tuple[str, ...] = (),
) -> None:
    """Write the model in `folder` to `out` with all that it needs, and a model card (README.md).

    Args:
        folder: Of a trained model.
        out: A new or empty folder, or one that this wrote before.
        run: The run that trained and measured it; its place says which when None.
        name, license, languages: For the card.

    Raises UserError where the folder holds no model, what it stands on is gone, or `out` is somebody else's.
    """
    with atomic_folder(out, marker=MARKER) as written:
        facts, exported = export_files(folder, written)
        record = (
            record_of(folder, run, exported)
            if run or folder.resolve().parent.name == "models"
            else RunRecord()
        )
        about = {"format": FORMAT, "route": facts.route, "perser": version("perser")}
        (written / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        card = model_card(facts, exported, record, name or out.resolve().name, name, license, languages)
        (written / "README.md").write_text(card, encoding="utf-8")


MARKER = "perser_export.json"
"""What every exported folder has."""
