"""Whether a folder is of this route, found out without loading anything large, and its model if so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from meta_perser.options import CONFIG
from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts, emotions_in

if TYPE_CHECKING:
    from meta_perser.inference import GradientModel
    from perser.export.contract import Exported


def load_gradient_model(folder: Path) -> GradientModel | None:
    """The model that `perser meta-train` or `perser pretrain` wrote to a folder; None where there is none."""
    if not (folder / CONFIG).is_file():
        return None
    from meta_perser.inference import GradientModel

    return GradientModel.from_pretrained(folder)


def facts(folder: Path) -> ModelFacts | None:
    """What such a folder's files say; its encoder lies in it."""
    config = read_json(folder / CONFIG)
    return None if config is None else ModelFacts("meta-perser", emotions_in(config), {})


def export(folder: Path, out: Path) -> Exported:
    """Writes all that the model in a folder needs to another (`perser.export.contract.Exporter`)."""
    from meta_perser.export_model import export_gradient_model

    return export_gradient_model(folder, out)


load_gradient_model.facts = facts

load_gradient_model.export = export
