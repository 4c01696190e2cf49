"""The best and the last model of a meta-training, saved at every validation, so that they can be used while
it runs and are there if it is killed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meta_perser.adaptation.meta_trained import RATES_FILE, MetaPerSER
from perser.io.files import atomic_folder, explain_write_errors
from perser.selection.validation import saved_scores
from perser.training.checkpoint import BestWeights
from perser.training.loop import Validation

BEST, LAST = "best", "last"
"""Their folders in OUT-running. A finished model's folder is the best one, with the last one in `LAST`."""


@dataclass(frozen=True)
class BestAndLast:
    """Saves `trained` at each validation: always into `last`, and into `best` if it scored best.

    Args:
        trained: what is trained.
        running: the folder OUT-running.
        trained_on: digest of the training part of the episodes file.
        switches: which parts of the method the training used, for the rows of reports.
    """

    trained: MetaPerSER
    running: Path
    trained_on: str
    switches: Mapping[str, object] = field(default_factory=dict)

    def save(self, best: BestWeights, step: int, validation: Validation) -> None:
        """Save after the validation of a step, whose score was offered to `best`.

        Each folder is replaced as a whole or not at all. Raises UserError where it cannot be written.
        """
        for name in (LAST, BEST) if best.step == step else (LAST,):
            folder = self.running / name
            with explain_write_errors(folder), atomic_folder(folder, RATES_FILE) as new:
                self.trained.save_pretrained(
                    new,
                    trained_on=self.trained_on,
                    iteration=step,
                    **saved_scores(validation),
                    switches=dict(self.switches),
                )

    def copy_to(self, folder: Path) -> None:
        """Copy both into a finished model's folder."""
        shutil.copytree(self.running / BEST, folder, dirs_exist_ok=True)
        shutil.copytree(self.running / LAST, folder / LAST)
