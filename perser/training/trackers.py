"""Trackers: where what a training logs is also to be looked at, through accelerate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from perser.io.files import explain_write_errors, write_text_atomic
from perser.training.options import Tracker

TENSORBOARD, WANDB = "tensorboard", "wandb"
"""Also the folders of their files, in that of the run; of W&B they are all there is where it is offline."""

ID = "tracker_id"
"""The file with the name by which a tracker knows the run again when it goes on."""

PROJECT = "perser"


class Tracked:
    """What a tracker is told of one training: every number of its log, by stage and name, at the steps of all
    stages counted on.

    Args:
        accelerator: of the training; its main process alone tells.
        tracker: which, or none.
        folder: of the run, for what a tracker keeps on disk; None: nothing is tracked.
        options: what is trained, as `run.json` has it.
        done: how many steps an earlier start has logged.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        tracker: Tracker,
        folder: Path | None,
        options: Mapping[str, Any],
        done: int = 0,
    ) -> None:
        self._accelerator = accelerator
        self._step = done
        self._is_on = tracker != "none" and folder is not None
        if not self._is_on:
            return
        accelerator.project_configuration.logging_dir = str(folder)
        accelerator.log_with = filter_trackers([tracker], folder)
        name, run = folder.name.removesuffix("-running"), _run_id(folder)
        own = {
            WANDB: {"name": name, "id": run, "resume": "allow", "dir": str(folder)},
            "trackio": {"name": f"{name}-{run}", "resume": "allow"},
        }
        if done:  # steps after it, which an earlier start has told, come again
            own[TENSORBOARD] = {"purge_step": done + 1}
        accelerator.init_trackers(
            TENSORBOARD if tracker == TENSORBOARD else PROJECT, flat(options), init_kwargs=own
        )

    def log(self, stage: str, values: Mapping[str, Any]) -> None:
        """One step more; what is no finite number is left out."""
        self._step += 1
        if not self._is_on:
            return
        known = {
            f"{stage}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self._accelerator.log(known, step=self._step)

    def finish(self) -> None:
        """All has been told."""
        for one in self._accelerator.trackers if self._is_on else ():
            one.finish()


def _run_id(folder: Path) -> str:
    """Of the run that has this folder, at its first start and at every other. Raises UserError where it
    cannot be written."""
    file = folder / ID
    if not file.exists():
        with explain_write_errors(file):
            write_text_atomic(file, f"{uuid4().hex[:8]}\n")
    return file.read_text(encoding="utf-8").strip()


def flat(options: Mapping[str, Any], before: str = "") -> dict[str, str | int | float | bool]:
    """Nested options by dotted names, as trackers take them; lists and none in the words of JSON."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            plain = isinstance(value, str | int | float | bool)
            found[before + name] = value if plain else json.dumps(value)
    return found
