"""Meta-PerSER's own step and adaptation, through the code that trains and personalizes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.speed.maml.case import RATE, Case, loss
from benchmarks.speed.timing.speech import RATE as SAMPLES
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import Memory
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.training.outer_loop import MetaLearner


class Clips:
    """Waveforms in memory as `perser.encoders.feature_cache.Recordings`."""

    fingerprint = "noise"

    def __init__(self, waveforms: Sequence[Tensor]) -> None:
        self._waveforms = waveforms
        self.utterance_ids = [str(place) for place in range(len(waveforms))]

    def duration(self, utterance_id: str) -> float:
        """Seconds."""
        return len(self.waveform(utterance_id)) / SAMPLES

    def waveform(self, utterance_id: str) -> Tensor:
        """(num_samples,)."""
        return self._waveforms[int(utterance_id)]


def encode(case: Case, cache: Path) -> ClipSource:
    """The support below what moves: encoded into the cache, once."""
    with redirect_stderr(StringIO()):  # no progress bar among the tables
        return ClipSource(Clips(case.waveforms), case.model, cache)


def outer_gradients(case: Case, source: ClipSource, steps: int, memory: Memory = "unroll") -> list[Tensor]:
    """Gradients of the outer loss by everything that moves; the frames are read from the cache."""
    batch = source.batch(Clips(case.waveforms).utterance_ids)
    learner = MetaLearner(case.model, _rate(case), loss, memory)
    with case.autocast():
        outer = learner(StepSchedule.plain(steps), 1.0, (batch, case.targets))
    return list(torch.autograd.grad(outer, case.moving))


def encoded_anew(case: Case) -> ClipBatch:
    """The support of a person whose clips were never heard, from the waveforms on."""
    with TemporaryDirectory() as cache, case.autocast():
        return encode(case, Path(cache)).batch(Clips(case.waveforms).utterance_ids)


def adapted(case: Case, batch: ClipBatch, steps: int) -> list[Tensor]:
    """The weights that moved, after `steps` steps."""
    with case.autocast():
        weights = adapt(case.model, _rate(case), batch, case.targets, loss, steps)
    return list(weights.values())


def _rate(case: Case) -> ConstantRate:
    return ConstantRate(list(case.model.moving_parameters()), RATE).to(case.device)
