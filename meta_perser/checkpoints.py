"""The best and the last of a meta-training, on disk while it goes on: a run that is killed leaves both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meta_perser.model import MARKER
from meta_perser.saving import MetaPerSER
from perser.folders import whole_folder
from perser.training import Best

LAST = "last"
"""Folder, within that of the best checkpoint, of the last one."""


@dataclass(frozen=True)
class Checkpoints:
    """Writes `trained` as it is at each validation: into `out` if it did best, and always into `last` in it.

    Each folder is replaced as a whole or not at all. `trained_on`: digest of the training part.
    """

    trained: MetaPerSER
    out: Path
    trained_on: str

    def write(self, best: Best, iteration: int) -> None:
        """After the validation at `iteration`, which `best` has been offered. Raises UserError where the
        folder cannot be written."""
        said = {
            "trained_on": self.trained_on,
            "best_iteration": best.step,
            "validation_maf1": best.score,
        }
        if best.step != iteration:
            with whole_folder(self.out / LAST, MARKER) as folder:
                self.trained.save_pretrained(folder, **said)
            return
        with whole_folder(self.out, MARKER) as folder:
            self.trained.save_pretrained(folder / LAST, **said)
            self.trained.save_pretrained(folder, **said)
