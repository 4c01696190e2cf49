"""What a route does to make one of its trained models a folder for the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from perser.errors import UserError
from perser.io.hub import SAFE_FILES
from perser.io.model_facts import ModelFacts
from perser.training.run import NOTES


@dataclass(frozen=True)
class Exported:
    """What a route says of a model that it exported.

    Args:
        summary: What the model is and how it becomes one person's, in a few sentences.
        transformers_code: Python that loads the folder `model` through transformers' Auto classes and asks it
            about a recording.
        methods: The methods of a comparison that are this model, by the name of its folder there.
        trained_on: Digest of what it was trained on (`EpisodeFile.training_digest`); None where unknown.
        bases: The Hub's models that it still stands on, with the commit where it is known.
    """

    summary: str
    transformers_code: str
    methods: Mapping[str, tuple[str, ...]]
    trained_on: str | None = None
    bases: Mapping[str, str | None] = field(default_factory=dict)


Exporter = Callable[[Path, Path], Exported]
"""Writes into an existing folder (the second) all that the model in a folder (the first) needs to be
loaded on another machine, except for models of the Hub. Raises UserError where that cannot be."""


def export_files(folder: Path, out: Path) -> tuple[ModelFacts, Exported]:
    """Have the route of the model in `folder` write it to `out`, and what its files there say. Raises
    UserError where no installed route knows it."""
    for entry in sorted(entry_points(group="perser.recognizers"), key=lambda one: one.name):
        loader = entry.load()
        tell, export = getattr(loader, "facts", None), getattr(loader, "export", None)
        if tell is not None and export is not None and tell(folder) is not None:
            exported = export(folder, out)
            return tell(out), exported
    raise UserError(f"{folder} holds no model of an installed route that can be exported")


def copy_safe_files(source: Path, out: Path) -> None:
    """Copy a folder's own weights, settings and vocabularies (`SAFE_FILES`), none of its subfolders, and not
    what a training noted (`NOTES`): folders of this machine, names of recordings."""
    out.mkdir(parents=True, exist_ok=True)
    files = {file for pattern in SAFE_FILES for file in source.glob(pattern) if file.is_file()}
    for file in sorted(one for one in files if one.name not in NOTES):
        shutil.copyfile(file, out / file.name)
