"""A training's run: checkpoints, logs and skipped steps. A killed training loses about a minute of work.

    training_run = open_training_run("pretrain", out, corpus, episodes, accelerator, run, resume, ...)
    with training_run.stage("fit", state, wrapped, clip_norm=1.0) as stage:
        for step in range(stage.done + 1, steps + 1):
            loss, parts = ...                # after the backward pass
            stage.update(step, loss, parts)  # the optimizer's step, unless a number is not finite
            stage.end_step(step)             # log; sometimes write a checkpoint; exit after a signal
    with training_run.finished(out, marker) as folder: ...

`perser.training.loop.fit` is the one loop that does this.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import nn

from perser.corpora.content import TRAINED_ON, Content, save_contents
from perser.distributed import sum_over_processes
from perser.io.checksums import file_sha256
from perser.io.files import atomic_folder, explain_write_errors
from perser.training.checkpoint import TrainingState
from perser.training.earlier_versions import RENAMED_STAGES
from perser.training.nonfinite import BAD_STEPS, BadSteps, StepPart
from perser.training.options import RunOptions
from perser.training.run_folder import RUN, RunFolder
from perser.training.run_log import ENVIRONMENT, LOG, METRICS, MetricsLog, log_message, log_start
from perser.training.sharding import full_tensor, is_sharded
from perser.training.stop_signal import StopSignal
from perser.training.trackers import TENSORBOARD, WANDB, TrackedRun

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

NOTES = (RUN, ENVIRONMENT, LOG, METRICS, BAD_STEPS, TENSORBOARD, WANDB)
"""Files about the training, which its output folder keeps beside the model."""
CHECKPOINT_SHARE = 0.01
"""Largest share of a training's time that its checkpoints take, unless one after every step is asked for."""


def open_training_run(
    command: str,
    out: Path,
    corpus: Corpus,
    episodes: Path,
    accelerator: Accelerator,
    run: RunOptions,
    resume: bool,
    trained_on: Sequence[Content] | None = None,
    **training: Any,
) -> TrainingRun:
    """Open the run of a command that trains on a corpus by an episodes file and writes `out`.

    `training` names what else its checkpoints depend on. The recordings and persons in `trained_on`
    (`EpisodeFile.trained_on`) are saved with the model, so that it can be measured on another corpus.

    Raises UserError where OUT-running is not a run's folder, holds checkpoints of another training (and
    `resume` is true), or cannot be written.
    """
    training = {
        "command": command,
        "corpus": corpus.fingerprint,
        "episodes": file_sha256(episodes),
    } | training
    folder = RunFolder(out, training, resume, accelerator)
    if trained_on is not None and accelerator.is_main_process:
        with explain_write_errors(folder.path):
            save_contents(trained_on, folder.path)
    return TrainingRun(accelerator, run, folder)


class TrainingRun:
    """One training, of one stage or several.

    Args:
        accelerator: of the training.
        options: how often to write checkpoints, and how many bad steps are too many.
        folder: None: nothing is written and nothing is resumed; bad steps are skipped all the same.
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
        self.checkpoint_found = folder.checkpoint if folder is not None else None
        _, state = self.checkpoint_found or ({}, {})
        stage: str | None = state.get("stage")
        self.stage_found = None if stage is None else RENAMED_STAGES.get(stage, stage)
        """The stage of the checkpoint to go on from; the stages before it are over."""
        own = folder.path if folder is not None and accelerator.is_main_process else None
        self.log = MetricsLog(own and own / METRICS, state.get("log_size", 0), state.get("seconds", 0.0))
        training = folder.training if folder is not None else {}
        self.tracked = TrackedRun(accelerator, self.options.tracker, own, training, self.log.num_lines)
        self.bad = BadSteps(own, self.options.max_bad_steps, state.get("bad_steps", ()))
        self.stop = StopSignal()
        self._written_at, self._seconds_to_write = time.perf_counter(), 0.0
        if own is not None:
            log_start(own)

    @contextmanager
    def stage(
        self, name: str, state: TrainingState, trained: nn.Module, clip_norm: float | None = None
    ) -> Iterator[Stage]:
        """Run one loop from where the checkpoint left it; when it ends, write a checkpoint that says so.

        Args:
            name: of the stage.
            state: what the loop changes.
            trained: the module as the accelerator wrapped it; its gradients are clipped.
            clip_norm: longest gradient (2-norm) that is not scaled down; None: no clipping.
        """
        stage = Stage(self, name, state, trained, clip_norm)
        with self.stop.watched():
            yield stage
            stage.close()

    @contextmanager
    def finished(self, out: Path, marker: str) -> Iterator[Path]:
        """Yield the folder that becomes `out` (see `atomic_folder`), add the log, then remove the
        checkpoints.

        Called by the main process alone.
        """
        self.tracked.finish()
        advice = "make room, and the same command goes on from its last checkpoint"
        with explain_write_errors(out, advice), atomic_folder(out, marker) as folder:
            yield folder
            for name in (*NOTES, TRAINED_ON):
                source = self._folder and self._folder.path / name
                if source and source.is_dir():
                    shutil.copytree(source, folder / name, symlinks=True)
                elif source and source.exists():
                    shutil.copy(source, folder / name)
        if self._folder is not None:
            self._folder.remove()

    def any_process(self, *flags: bool) -> list[bool]:
        """Return each flag as raised if any process raises it: all processes must do the same."""
        return (sum_over_processes(torch.tensor(flags, dtype=torch.float32)) > 0).tolist()

    def checkpoint_is_due(self) -> bool:
        """Return whether the last checkpoint is long enough ago, by the main process's clock."""
        wanted = self.options.checkpoint_seconds
        pause = wanted and max(wanted, self._seconds_to_write / CHECKPOINT_SHARE)
        due = time.perf_counter() - self._written_at >= pause and self.accelerator.is_main_process
        return self.any_process(due)[0] if is_sharded() else due  # sharded weights are gathered by all

    def checkpoint(self, stage: str, step: int, state: TrainingState) -> None:
        """Write a checkpoint in the main process. With sharded weights all processes have to call it."""
        writes = self.accelerator.is_main_process
        if self._folder is None or not (writes or is_sharded()):
            return
        start = time.perf_counter()
        tensors, values = state.capture()
        if not writes:
            return
        values |= {"stage": stage, "step": step, "bad_steps": self.bad.records}
        values |= {"log_size": self.log.size, "seconds": self.log.seconds}
        self._folder.write(step, tensors, values)
        self._written_at = time.perf_counter()
        self._seconds_to_write = self._written_at - start

    def record(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """Log a step, to the tracker too. Raises UserError where the log cannot be written."""
        self.log.write(stage, step, values)
        self.tracked.log(stage, values)

    def report(self, message: str) -> None:
        """Print a message on standard error and keep it in the run's folder."""
        if not self.accelerator.is_main_process:
            return
        print(f"perser: {message}", file=sys.stderr)
        if self._folder is not None:
            log_message(self._folder.path, message)

    def exit_after_signal(self, stage: str, step: int) -> None:
        """End the process with the exit status of the signal that stopped it."""
        resumes = "the same command goes on from there" if self._folder is not None else "nothing is kept"
        self.report(f"stopped after step {step} of {stage}: {resumes}")
        self.tracked.finish()
        raise SystemExit(self.stop.exit_status)


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
        self._run = training_run
        self._name = name
        self._state = state
        self._trained = trained
        self._clip_norm = math.inf if clip_norm is None else clip_norm
        self.done = self._resume()
        """How many steps an earlier start has taken; 0 where the loop starts from the beginning."""
        self._last = self._saved = self.done
        self._values: dict[str, Any] = {}
        self._stopping = False

    def update(self, step: int, loss: float, parts: Sequence[StepPart]) -> None:
        """Take the optimizer's step on the gradients, and the schedule's.

        A step whose loss or gradient is not finite in any process is skipped by all.

        Raises UserError, which names what the last one read, where too many steps were skipped.
        """
        run, optimizer = self._run, self._state.optimizer
        norm = run.accelerator.clip_grad_norm_(self._trained.parameters(), self._clip_norm)
        norm = 0.0 if norm is None else float(full_tensor(norm))  # None where the wrapper clips by itself
        is_finite = math.isfinite(loss) and math.isfinite(norm) and all(part.finite for part in parts)
        is_bad, self._stopping = run.any_process(not is_finite, run.stop.arrived)
        self._values = {"loss": loss, "lr": optimizer.param_groups[0]["lr"], "gradient_norm": norm}
        if is_bad:
            self._values["skipped"] = True
            run.bad.add(self._name, step, loss, norm, parts)
        else:
            optimizer.step()
        self._step_schedule(skipped=is_bad)
        optimizer.zero_grad()

    def _step_schedule(self, skipped: bool) -> None:
        """Take the schedule's step; it goes on where the optimizer's was skipped."""
        schedule = self._state.schedule
        if schedule is not None and skipped:
            with warnings.catch_warnings():  # torch expects that the first step was taken
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                schedule.step()
        elif schedule is not None:
            schedule.step()

    def end_step(self, step: int, **validation: float) -> None:
        """Log a step after all that it changed, with what its validation found.

        Raises SystemExit once a signal to stop has arrived; UserError where the log or a checkpoint cannot
        be written.
        """
        self._run.record(self._name, step, self._values | validation)
        self._last = step
        if self._stopping or self._run.checkpoint_is_due():
            self._checkpoint()
        if self._stopping:
            self._run.exit_after_signal(self._name, step)

    def close(self) -> None:
        """End the loop: save its last step, and leave if a signal to stop has arrived."""
        if self._saved < self._last:
            self._checkpoint()
        (stopping,) = self._run.any_process(self._run.stop.arrived)
        if stopping:
            self._run.exit_after_signal(self._name, self._last)

    def _checkpoint(self) -> None:
        self._run.checkpoint(self._name, self._last, self._state)
        self._saved = self._last

    def _resume(self) -> int:
        run = self._run
        if run.checkpoint_found is None or run.stage_found != self._name:
            return 0
        tensors, values = run.checkpoint_found
        self._state.restore(tensors, values)
        run.checkpoint_found = None  # frees its memory
        run.report(f"going on after step {values['step']} of {self._name}")
        return values["step"]
