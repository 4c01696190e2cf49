"""The best and the last model of a meta-training, saved at every validation, so that they can be used while
it runs and are there if it is killed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meta_perser.adaptation.meta_trained import RATES_FILE, MetaPerSER
from meta_perser.options import BEST, LAST
from meta_perser.recognizer.model import saved_settings
from perser.io.files import atomic_folder, explain_write_errors
from perser.selection.validation import saved_scores
from perser.training.checkpoint import BestWeights
from perser.training.loop import Validation
from perser.training.options import Criterion


@dataclass(frozen=True)
class BestAndLast:
    """Saves `trained` at each validation: always into `last`, and into `best` if it scored best.

    Args:
        trained: what is trained.
        running: the folder OUT-running.
        trained_on: digest of the training part of the episodes file.
        switches: which parts of the method the training used, for the rows of reports.
        selection: what chose the best one.
    """

    trained: MetaPerSER
    running: Path
    trained_on: str
    switches: Mapping[str, object] = field(default_factory=dict)
    selection: Criterion = "log_loss"

    def save(self, best: BestWeights, step: int, validation: Validation) -> None:
        """Save after the validation of a step, whose score was offered to `best`.

        Each folder is replaced as a whole or not at all. Raises UserError where it cannot be written.
        """
        validations = [*self._validations(step), [step, dict(validation.values)]]
        for name in (LAST, BEST) if best.step == step else (LAST,):
            folder = self.running / name
            with explain_write_errors(folder), atomic_folder(folder, RATES_FILE) as new:
                self.trained.save_pretrained(
                    new,
                    trained_on=self.trained_on,
                    iteration=step,
                    selection=self.selection,
                    **saved_scores(validation),
                    switches=dict(self.switches),
                    validations=validations,
                )

    def _validations(self, step: int) -> list[list[Any]]:
        """Return the iteration and the figures of each validation before this step's.

        A training that goes on from a checkpoint may have saved later ones.
        """
        if not (self.running / LAST).is_dir():
            return []
        saved = saved_settings(self.running / LAST).get("validations", [])
        return [validation for validation in saved if validation[0] < step]

    def copy_to(self, folder: Path) -> None:
        """Copy both into a finished model's folder."""
        shutil.copytree(self.running / BEST, folder, dirs_exist_ok=True)
        shutil.copytree(self.running / LAST, folder / LAST)
