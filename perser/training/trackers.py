"""Trackers (TensorBoard, W&B, Trackio), through accelerate: where else a training's log goes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from perser.io.files import write_text_atomic
from perser.training.options import Tracker

TENSORBOARD, WANDB = "tensorboard", "wandb"
"""Also the names of their folders in the run's folder. Where W&B is offline its folder is all there is."""
ID_FILE = "tracker_id"
"""Holds the id by which a tracker recognizes the run when it is resumed."""
PROJECT = "perser"


class TrackedRun:
    """Sends every number of a training's log to a tracker, by stage and name; steps are counted over all
    stages.

    Args:
        accelerator: of the training; its main process alone sends.
        tracker: which one, or none.
        folder: of the run, for what a tracker keeps on disk; None: nothing is sent.
        options: what is trained, as `run.json` says.
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
        if not self._is_on or folder is None:
            return
        accelerator.project_configuration.logging_dir = str(folder)
        accelerator.log_with = filter_trackers([tracker], folder)
        name, run_id = folder.name.removesuffix("-running"), _run_id(folder)
        init_kwargs: dict[str, dict[str, object]] = {
            WANDB: {"name": name, "id": run_id, "resume": "allow", "dir": str(folder)},
            "trackio": {"name": f"{name}-{run_id}", "resume": "allow"},
        }
        if done:  # later steps, which an earlier start has sent, will be sent again
            init_kwargs[TENSORBOARD] = {"purge_step": done + 1}
        project = TENSORBOARD if tracker == TENSORBOARD else PROJECT
        accelerator.init_trackers(project, flatten(options), init_kwargs=init_kwargs)

    def log(self, stage: str, values: Mapping[str, Any]) -> None:
        """Send the values of one more step; what is not a finite number is left out."""
        self._step += 1
        if not self._is_on:
            return
        numbers = {
            f"{stage}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self._accelerator.log(numbers, step=self._step)

    def finish(self) -> None:
        """Close the tracker."""
        for tracker in self._accelerator.trackers if self._is_on else ():
            tracker.finish()


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return nested options by dotted names, as trackers take them; lists and none as JSON text."""
    flat: dict[str, str | int | float | bool] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            is_plain = isinstance(value, str | int | float | bool)
            flat[prefix + name] = value if is_plain else json.dumps(value)
    return flat


def _run_id(folder: Path) -> str:
    """Return the id of the run in this folder, the same at every start. Raises UserError where the folder
    cannot be written."""
    file = folder / ID_FILE
    if not file.exists():
        write_text_atomic(file, f"{uuid4().hex[:8]}\n")
    return file.read_text(encoding="utf-8").strip()
