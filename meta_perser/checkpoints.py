"""The best and the last of a meta-training, on disk while it goes on: a run that is killed leaves both,
beside what an earlier run has finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meta_perser.saving import RATES, MetaPerSER
from perser.folders import take_place, whole_folder
from perser.training import Best

LAST = "last"
"""Folder, within that of the best checkpoint, of the last one."""


def running(out: Path) -> Path:
    """Where checkpoints are until training ends."""
    return out.with_name(f"{out.name}-running")


@dataclass(frozen=True)
class Checkpoints:
    """Writes `trained` at each validation: into a folder beside `out` if it did best, and always into `last`
    in that folder, which gets the name `out` when training ends.

    Each folder is replaced as a whole or not at all. `trained_on`: digest of the training part.
    """

    trained: MetaPerSER
    out: Path
    trained_on: str

    def write(self, best: Best, iteration: int, score: float) -> None:
        """After the validation at `iteration`, which found `score` and offered it to `best`. Raises UserError
        where the folder cannot be written."""
        last = {"trained_on": self.trained_on, "iteration": iteration, "validation_maf1": score}
        if best.step != iteration:
            with whole_folder(running(self.out) / LAST, RATES) as folder:
                self.trained.save_pretrained(folder, **last)
            return
        with whole_folder(running(self.out), RATES) as folder:
            self.trained.save_pretrained(folder / LAST, **last)
            self.trained.save_pretrained(folder, **last)

    def finish(self) -> None:
        """Give the folder its name."""
        take_place(running(self.out), self.out)
