"""OUT-running: what a training keeps beside its output folder until that is there.

run.json          what is trained: options, corpus, episodes, models
environment.jsonl with what and when, a line a start: commit, versions, device, processes, command
log.txt           what the training said
checkpoints/      see `perser.checkpoint_files`
metrics.jsonl     see `perser.run_log`
bad_steps.json    see `perser.bad_steps`; only if there were any
tracker_id, tensorboard/, wandb/
                  see `perser.trackers`; only if one is asked for
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from perser.errors import UserError
from perser.io.files import check_replaceable, explain_write_errors, write_text_atomic
from perser.io.json_files import to_json_value
from perser.training.checkpoint import newest_whole, read_checkpoint, remove_leftovers, write_checkpoint

RUN, CHECKPOINTS = "run.json", "checkpoints"


def running(out: Path) -> Path:
    """Where a training that writes `out` keeps what it has until it ends."""
    return out.with_name(f"{out.name}-running")


class RunFolder:
    """The folder of one training.

    Args:
        out: the training's output folder.
        training: what is trained, in full: a checkpoint of anything else is not gone on from.
        resume: go on from the newest whole checkpoint; otherwise what an earlier training left is removed.
        accelerator: its main process alone writes.

    Raises UserError for a folder of something else or of another training, or where it cannot be written.
    """

    def __init__(
        self, out: Path, training: Mapping[str, Any], resume: bool, accelerator: Accelerator
    ) -> None:
        self.path = running(Path(out))
        self._checkpoints = self.path / CHECKPOINTS
        # As it will be read, so that it can be compared.
        training = json.loads(json.dumps(to_json_value(dict(training))))
        self._digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()
        self.training: dict[str, Any] = training
        chosen = [None]
        if accelerator.is_main_process:
            check_replaceable(self.path, RUN)  # the others might look while it is half written
            newest = newest_whole(self._checkpoints) if resume else None
            chosen = [self._prepare(training, newest)]
        (name,) = broadcast_object_list(chosen)
        self.checkpoint = None if name is None else self._read(name)
        """Tensors and state of the checkpoint to go on from."""
        accelerator.wait_for_everyone()

    def write(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """One more checkpoint. Raises UserError where it cannot be written."""
        write_checkpoint(self._checkpoints, step, tensors, state | {"training": self._digest})

    def remove(self) -> None:
        """All of it; a run that is killed meanwhile leaves nothing that would be gone on from."""
        gone = self.path.with_name(f".{self.path.name}-gone")
        shutil.rmtree(gone, ignore_errors=True)
        self.path.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _prepare(self, training: dict[str, Any], newest: Path | None) -> str | None:
        """Make the folder ready to be written; gives the name of the checkpoint to go on from."""
        if newest is not None:
            self._check_alike(training)
            remove_leftovers(self._checkpoints, newest)
            return newest.name
        with explain_write_errors(self.path):
            if self.path.exists():
                shutil.rmtree(self.path)
            write_text_atomic(self.path / RUN, json.dumps(training, indent=1) + "\n")
        return None

    def _check_alike(self, training: dict[str, Any]) -> None:
        try:
            found = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / RUN} is damaged: begin anew with --resume false") from error
        if other := _differences(found, training):
            raise UserError(
                f"{self.path} holds the checkpoints of another training ({'; '.join(other)}): go on with "
                "that one by its own options, or begin anew with --resume false"
            )

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            tensors, state = read_checkpoint(self._checkpoints / name)
        except ValueError as error:
            raise UserError(
                f"{self._checkpoints / name} cannot be read by every process ({error}): give an output "
                "folder on a disk that all of them share"
            ) from error
        if state["training"] != self._digest:
            raise UserError(
                f"{self._checkpoints / name} is of another training: begin anew with --resume false"
            )
        return tensors, state


def _differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What differs, as `key: before, now ...`."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = dict.fromkeys((*before, *now))
        within = [f"{key}.{name}" if key else name for name in names]
        return [
            one
            for name, path in zip(names, within, strict=True)
            for one in _differences(before.get(name), now.get(name), path)
        ]
    return [] if before == now else [f"{key}: {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    words = json.dumps(value)
    return words if len(words) <= 40 else f"{words[:12]}..."
