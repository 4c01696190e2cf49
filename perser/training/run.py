"""A training's journal: what it must have written down so that a kill costs a minute and not a week.

journal = open_journal("pretrain", out, corpus, episodes, accelerator, run, resume, ...)
with journal.stage("fit", state, wrapped, clip_norm=1.0) as stage:
    for step in range(stage.done + 1, steps + 1):
        loss, parts = ...                # after the backward pass
        stage.update(step, loss, parts)  # the optimizer's step, unless a number is not finite
        stage.ended(step)                # logs it; a checkpoint from time to time; leaves after SIGTERM
with journal.finished(out, marker) as folder: ...
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import nn

from perser.distributed import sum_over_processes
from perser.io.checksums import file_sha256
from perser.io.files import atomic_folder, explain_write_errors
from perser.training.checkpoint import TrainingState
from perser.training.nonfinite import BAD_STEPS, BadSteps, Part
from perser.training.options import RunOptions
from perser.training.run_folder import RUN, RunFolder
from perser.training.run_log import ENVIRONMENT, LOG, METRICS, RunLog, note, note_start
from perser.training.sharding import is_sharded, whole
from perser.training.stop_signal import EXIT, StopSignal
from perser.training.trackers import TENSORBOARD, WANDB, Tracked

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

NOTES = (RUN, ENVIRONMENT, LOG, METRICS, BAD_STEPS, TENSORBOARD, WANDB)
"""What a training leaves in its output folder besides the model: of use to whoever trained it."""

SHARE = 0.01
"""Most of a training's time that its checkpoints take, unless one after every step is asked for."""


def open_training_run(
    command: str,
    out: Path,
    corpus: Corpus,
    episodes: Path,
    accelerator: Accelerator,
    run: RunOptions,
    resume: bool,
    **facts: Any,
) -> TrainingRun:
    """The journal of a command that trains on a corpus by an episodes file and writes `out`; `facts`: what
    else its checkpoints depend on, by name.

    Raises UserError where OUT-running is something else's, holds checkpoints of another training (and
    `resume` is true), or cannot be written.
    """
    training = {"command": command, "corpus": corpus.fingerprint, "episodes": file_sha256(episodes)}
    return TrainingRun(accelerator, run, RunFolder(out, training | facts, resume, accelerator))


class TrainingRun:
    """Of one training, which has one stage or several.

    Args:
        accelerator: of the training.
        options: how often, and how many bad steps.
        folder: None: nothing is written and nothing is gone on from; bad steps are skipped all the same.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        options: RunOptions | None = None,
        folder: RunFolder | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.options = options or RunOptions()
        self._folder = folder
        self.found = folder and folder.checkpoint
        _, state = self.found or ({}, {})
        self.stage_found: str | None = state.get("stage")
        """The stage of the checkpoint that is gone on from: those before it are over."""
        own = folder.path if folder is not None and accelerator.is_main_process else None
        self.log = RunLog(own and own / METRICS, state.get("log_size", 0), state.get("seconds", 0.0))
        options_of = folder.training if folder is not None else {}
        self.tracked = Tracked(accelerator, self.options.tracker, own, options_of, self.log.lines)
        self.bad = BadSteps(own, self.options.max_bad_steps, state.get("bad_steps", ()))
        self.stop = StopSignal()
        self._written_at, self._took = time.perf_counter(), 0.0
        if own is not None:
            note_start(own)

    @contextmanager
    def stage(
        self, name: str, state: TrainingState, trained: nn.Module, clip_norm: float | None = None
    ) -> Iterator[Stage]:
        """One loop, from where the checkpoint has it; when it ends, a checkpoint says so.

        Args:
            name: of the stage.
            state: what the loop changes.
            trained: the module as accelerate wrapped it, whose gradients are clipped.
            clip_norm: the longest gradient (2-norm); None: as it comes.
        """
        stage = Stage(self, name, state, trained, clip_norm)
        with self.stop.watched():
            yield stage
            stage.close()

    @contextmanager
    def finished(self, out: Path, marker: str) -> Iterator[Path]:
        """Give the folder that is to be `out` (see `atomic_folder`), with the log in it; afterwards nothing is
        left of the checkpoints. Of the main process alone."""
        self.tracked.finish()
        advice = "make room, and the same command goes on from its last checkpoint"
        with explain_write_errors(out, advice), atomic_folder(out, marker) as folder:
            yield folder
            for name in NOTES:
                kept = self._folder and self._folder.path / name
                if kept and kept.exists():
                    if kept.is_dir():
                        shutil.copytree(kept, folder / name, symlinks=True)
                    else:
                        shutil.copy(kept, folder / name)
        if self._folder is not None:
            self._folder.remove()

    def agreed(self, *flags: bool) -> list[bool]:
        """Each flag, raised if it is in any process: all of them must do the same."""
        return (sum_over_processes(torch.tensor(flags, dtype=torch.float32)) > 0).tolist()

    def checkpoint_is_due(self) -> bool:
        """Whether the last one is long enough ago, as the main process has it."""
        wanted = self.options.checkpoint_seconds
        due = time.perf_counter() - self._written_at >= (wanted and max(wanted, self._took / SHARE))
        due = due and self.accelerator.is_main_process
        return self.agreed(due)[0] if is_sharded() else due  # all of them gather the shares

    def checkpoint(self, stage: str, step: int, state: TrainingState) -> None:
        """Write one, in the main process; where weights lie in shares, all have to call it."""
        writes = self.accelerator.is_main_process
        if self._folder is None or not (writes or is_sharded()):
            return
        begun = time.perf_counter()
        tensors, facts = state.capture()
        if not writes:
            return
        facts |= {"stage": stage, "step": step, "bad_steps": self.bad.found}
        facts |= {"log_size": self.log.size, "seconds": self.log.seconds}
        self._folder.write(step, tensors, facts)
        self._written_at = time.perf_counter()
        self._took = self._written_at - begun

    def record(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """One line of the log, which the tracker is told too. Raises UserError where it cannot be written."""
        self.log.log(stage, step, values)
        self.tracked.log(stage, values)

    def say(self, message: str) -> None:
        """To who is there, and to who looks into the run's folder later."""
        if not self.accelerator.is_main_process:
            return
        print(f"perser: {message}", file=sys.stderr)
        if self._folder is not None:
            note(self._folder.path, message)

    def leave(self, stage: str, step: int) -> None:
        """End the process as one that SIGTERM ended."""
        goes_on = "the same command goes on from there" if self._folder is not None else "nothing is kept"
        self.say(f"stopped after step {step} of {stage}: {goes_on}")
        self.tracked.finish()
        raise SystemExit(EXIT)


class Stage:
    """One loop of a training, made by `TrainingRun.stage`."""

    def __init__(
        self,
        training_run: TrainingRun,
        name: str,
        state: TrainingState,
        trained: nn.Module,
        clip_norm: float | None,
    ) -> None:
        self._journal = training_run
        self._name = name
        self._state = state
        self._trained = trained
        self._clip_norm = math.inf if clip_norm is None else clip_norm
        self.done = self._found()
        """How many steps an earlier start has taken; 0 where the loop is to begin."""
        self._last = self._kept = self.done
        self._taken: dict[str, Any] = {}
        self._stopping = False

    def update(self, step: int, loss: float, parts: Sequence[Part]) -> None:
        """Take the optimizer's step on the gradients that are there, and the schedule's; a step whose loss or
        gradient is not finite is skipped, in all processes alike.

        Raises UserError where too many have been, which names what the last one read.
        """
        training_run, optimizer = self._journal, self._state.optimizer
        norm = training_run.accelerator.clip_grad_norm_(self._trained.parameters(), self._clip_norm)
        norm = 0.0 if norm is None else float(whole(norm))  # None: where the wrapper clips by itself
        sound = math.isfinite(loss) and math.isfinite(norm) and all(part.finite for part in parts)
        bad, self._stopping = training_run.agreed(not sound, training_run.stop.came)
        self._taken = {"loss": loss, "lr": optimizer.param_groups[0]["lr"], "gradient_norm": norm}
        if bad:
            self._taken["skipped"] = True
            training_run.bad.add(self._name, step, loss, norm, parts)
        else:
            optimizer.step()
        if self._state.schedule is not None:
            self._state.schedule.step()
        optimizer.zero_grad()

    def ended(self, step: int, **found: float) -> None:
        """After all that a step changed, validation among it (what it `found` is logged with the loss).

        Raises SystemExit once SIGTERM has come; UserError where the log or a checkpoint cannot be written.
        """
        self._journal.record(self._name, step, self._taken | found)
        self._last = step
        if self._stopping or self._journal.checkpoint_is_due():
            self._checkpoint()
        if self._stopping:
            self._journal.leave(self._name, step)

    def close(self) -> None:
        """The loop has ended."""
        if self._kept < self._last:
            self._checkpoint()
        (stopping,) = self._journal.agreed(self._journal.stop.came)
        if stopping:
            self._journal.leave(self._name, self._last)

    def _checkpoint(self) -> None:
        self._journal.checkpoint(self._name, self._last, self._state)
        self._kept = self._last

    def _found(self) -> int:
        training_run = self._journal
        if training_run.found is None or training_run.stage_found != self._name:
            return 0
        tensors, facts = training_run.found
        self._state.restore(tensors, facts)
        training_run.found = None  # its memory is free
        training_run.say(f"going on after step {facts['step']} of {self._name}")
        return facts["step"]
