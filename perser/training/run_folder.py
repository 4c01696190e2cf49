"""OUT-running: what a training keeps beside its output folder until that is complete.

run.json           what is trained: options, corpus, episodes, models
environment.jsonl  what it runs on, one line a start: commit, versions, device, processes, command
log.txt            messages
metrics.jsonl      every step, see `perser.training.run_log`
checkpoints/       see `perser.training.checkpoint`
bad_steps.json     see `perser.training.nonfinite`; only if there were any
tracker_id, tensorboard/, wandb/
                   see `perser.training.trackers`; only with a tracker
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from perser.errors import UserError, saying_where
from perser.io.checksums import json_sha256
from perser.io.files import (
    check_output,
    check_outputs,
    check_replaceable,
    explain_write_errors,
)
from perser.io.json_files import read_json, to_json_value, write_json
from perser.training.checkpoint import newest_checkpoint, read_checkpoint, remove_leftovers, write_checkpoint
from perser.training.earlier_versions import upgrade_training

RUN, CHECKPOINTS = "run.json", "checkpoints"
LONGEST_VALUE = 40
"""Characters of an option's value that a message shows in full."""


def running_folder(out: Path) -> Path:
    """Return where a training that writes `out` keeps its files until it ends."""
    return out.with_name(f"{out.name}-running")


def check_training_outputs(out: Path, marker: str, cache: Path) -> None:
    """Raise UserError where a training could not write its output folder, its running folder or its cache.

    `marker` is the file by which the output folder is recognized.
    """
    check_output(out, marker)
    with saying_where("out"):
        check_replaceable(running_folder(out), RUN)
    check_outputs(folders={"cache": cache})


class RunFolder:
    """The folder of one training that is not finished.

    Args:
        out: the training's output folder.
        training: what is trained, in full; checkpoints of anything else are refused.
        resume: whether to go on from the newest good checkpoint; otherwise what an earlier run left is
            removed.
        accelerator: its main process alone writes.

    Raises UserError for a folder that is not a run's, or another training's, or cannot be written.
    """

    def __init__(
        self, out: Path, training: Mapping[str, Any], resume: bool, accelerator: Accelerator
    ) -> None:
        self.path = running_folder(Path(out))
        self._checkpoints = self.path / CHECKPOINTS
        # As it will be read back, so that it can be compared.
        self.training: dict[str, Any] = json.loads(json.dumps(to_json_value(dict(training))))
        chosen: list[str | None] = [None]
        if accelerator.is_main_process:
            check_replaceable(self.path, RUN)  # by one process: others might look while it is half written
            newest = newest_checkpoint(self._checkpoints) if resume else None
            chosen = [self._prepare(newest)]
        (name,) = broadcast_object_list(chosen)
        self.checkpoint = None if name is None else self._read(name)
        """Tensors and state of the checkpoint to go on from."""
        self._digest = json_sha256(self.training, sort_keys=True)
        accelerator.wait_for_everyone()

    def write(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write one more checkpoint. Raises UserError where it cannot be written."""
        write_checkpoint(self._checkpoints, step, tensors, state | {"training": self._digest})

    def remove(self) -> None:
        """Remove the folder. A run that is killed meanwhile leaves nothing that would be resumed."""
        removed = self.path.with_name(f".{self.path.name}-gone")
        shutil.rmtree(removed, ignore_errors=True)
        self.path.replace(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def _prepare(self, newest: Path | None) -> str | None:
        """Make the folder ready to be written; return the name of the checkpoint to go on from."""
        if newest is not None:
            self._check_same_training()
            remove_leftovers(self._checkpoints, newest)
            return newest.name
        with explain_write_errors(self.path):
            if self.path.exists():
                shutil.rmtree(self.path)
            write_json(self.path / RUN, self.training)
        return None

    def _check_same_training(self) -> None:
        if different := _differences(upgrade_training(self._read_training()), self.training):
            raise UserError(
                f"{self.path} holds the checkpoints of another training ({'; '.join(different)}): go on with "
                "that one by its own options, or start over with --resume false"
            )

    def _read_training(self) -> dict[str, Any]:
        training = read_json(self.path / RUN)
        if training is None:
            raise UserError(f"{self.path / RUN} is damaged: start over with --resume false")
        return training

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            tensors, state = read_checkpoint(self._checkpoints / name)
        except ValueError as error:
            raise UserError(
                f"{self._checkpoints / name} cannot be read by every process ({error}): give an output "
                "folder on a disk that all of them share"
            ) from error
        # Version 0.1.0 named the options differently, in run.json and in the digest of it.
        same = [json_sha256(training, sort_keys=True) for training in (self.training, self._read_training())]
        if state["training"] not in same:
            raise UserError(
                f"{self._checkpoints / name} is of another training: start over with --resume false"
            )
        return tensors, state


def _differences(before: Any, now: Any, key: str = "") -> list[str]:
    """List what differs, as `key: before, now ...`."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for name in dict.fromkeys((*before, *now))
            for difference in _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [f"{key}: {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:12]}..."
