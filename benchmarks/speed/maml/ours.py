"""Meta-PerSER's own step and adaptation, by the code that trains and personalizes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.speed.maml.case import RATE, MamlCase, loss
from benchmarks.speed.maml.noise import SAMPLE_RATE
from meta_perser.adaptation.inner_loop import adapt
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.step_schedule import StepSchedule
from meta_perser.options import Memory
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.clip_batch import ClipBatch
from meta_perser.training.outer_loop import MetaLearner


class WaveformsInMemory:
    """Waveforms in memory, with the interface of `perser.encoders.feature_cache.AudioSource`."""

    fingerprint = "noise"

    def __init__(self, waveforms: Sequence[Tensor]) -> None:
        self._waveforms = waveforms
        self.utterance_ids = [str(index) for index in range(len(waveforms))]

    def duration(self, utterance_id: str) -> float:
        """Return a clip's seconds."""
        return len(self.waveform(utterance_id)) / SAMPLE_RATE

    def waveform(self, utterance_id: str) -> Tensor:
        """Return a clip's samples (num_samples,)."""
        return self._waveforms[int(utterance_id)]


def encode(case: MamlCase, cache: Path | None) -> ClipSource:
    """Encode the support, up to the layers that adapt, into the cache; None: into memory."""
    with redirect_stderr(StringIO()):  # no progress bar among the tables
        return ClipSource(WaveformsInMemory(case.waveforms), case.model, cache)


def outer_gradients(
    case: MamlCase, source: ClipSource, steps: int, memory: Memory = "unroll"
) -> list[Tensor]:
    """Return the gradients of the outer loss by everything that adapts. The cache is read at every call."""
    batch = source.batch(WaveformsInMemory(case.waveforms).utterance_ids)
    learner = MetaLearner(case.model, _rate(case), loss, memory)
    with case.autocast():
        outer = learner(StepSchedule.plain(steps), 1.0, (batch, case.targets))
    return list(torch.autograd.grad(outer, case.moving))


def outer_gradients_of_persons(
    case: MamlCase, persons: Sequence[tuple[ClipBatch, Tensor]], steps: int
) -> list[Tensor]:
    """Return the gradients of the persons' mean outer loss, one person after the other as in training."""
    learner = MetaLearner(case.model, _rate(case), loss)
    for parameter in case.moving:
        parameter.grad = None
    for person in persons:
        (learner(StepSchedule.plain(steps), 1.0, person) / len(persons)).backward()
    gradients = [parameter.grad for parameter in case.moving if parameter.grad is not None]
    for parameter in case.moving:
        parameter.grad = None
    return gradients


def encode_anew(case: MamlCase) -> ClipBatch:
    """Encode the support from the waveforms on, as for a person whose clips are new."""
    with TemporaryDirectory() as cache, case.autocast():
        return encode(case, Path(cache)).batch(WaveformsInMemory(case.waveforms).utterance_ids)


def adapted_weights(case: MamlCase, batch: ClipBatch, steps: int) -> list[Tensor]:
    """Return the weights that moved, after `steps` steps."""
    with case.autocast():
        weights = adapt(case.model, _rate(case), batch, case.targets, loss, steps)
    return list(weights.values())


def _rate(case: MamlCase) -> ConstantRate:
    return ConstantRate(list(case.model.trainable_parameters()), RATE).to(case.device)
