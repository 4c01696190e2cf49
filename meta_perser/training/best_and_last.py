"""The best and the last of a meta-training as models that can be used while it goes on: a run that is killed
leaves both, beside what an earlier run has finished."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from meta_perser.adaptation.meta_trained import RATES, MetaPerSER
from perser.io.files import atomic_folder, explain_write_errors
from perser.training.loop import BestWeights

BEST, LAST = "best", "last"
"""Folders of a training that goes on; in a finished model's folder, which is the best one, is `LAST` too."""


@dataclass(frozen=True)
class Checkpoints:
    """Writes `trained` at each validation: into `best` if it did best, and always into `last`.

    Each folder is replaced as a whole or not at all. `trained_on`: digest of the training part.
    """

    trained: MetaPerSER
    running: Path
    trained_on: str

    def write(self, best: BestWeights, iteration: int, score: float) -> None:
        """After the validation at `iteration`, which found `score` and offered it to `best`. Raises UserError
        where the folder cannot be written."""
        for name in (LAST, BEST) if best.step == iteration else (LAST,):
            folder = self.running / name
            with explain_write_errors(folder), atomic_folder(folder, RATES) as written:
                self.trained.save_pretrained(
                    written, trained_on=self.trained_on, iteration=iteration, validation_maf1=score
                )

    def copy_to(self, folder: Path) -> None:
        """Both, as a finished model's folder has them."""
        shutil.copytree(self.running / BEST, folder, dirs_exist_ok=True)
        shutil.copytree(self.running / LAST, folder / LAST)
