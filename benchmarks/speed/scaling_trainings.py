"""python -m benchmarks.speed.scaling_trainings --preset quick --out FILE

Time the steps of each training, in as many processes as are launched; `benchmarks.speed.scaling` starts it.
The training loops are those of the commands, with random weights and noise for speech.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from benchmarks.speed.maml.case import MamlCase, loss, make_case
from benchmarks.speed.maml.ours import WaveformsInMemory
from benchmarks.speed.maml.presets import NARROW, NARROWER, TINY
from benchmarks.speed.speechlm.prompt_case import FEATURE_SHAPE
from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import InnerOptions, LslrOptions, OuterOptions, PretrainOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.training.supervised import aggregated_examples, train_supervised
from perser.cli.main import run_command
from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Episode, Support, Task
from perser.io.files import check_outputs, write_text_atomic
from perser.training.accelerator import start_accelerator
from perser.training.loop import Validation
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.training.meta_training import meta_train
from speechlm_icl.training.options import IclOptions

ScalingPresetName = Literal["tiny", "quick", "full"]

WARM_UP = 2
"""First steps, which are not counted: they wait for memory and for threads."""

LISTENERS = 12


@dataclass(frozen=True)
class ScalingPreset:
    """Sizes of one run.

    Args:
        encoder: the configuration's differences from wav2vec2-base.
        steps: optimizer steps of each training.
        clips: utterances of the corpus.
        batch: utterances in a step of SSL-E's training.
        persons: listeners in a step of meta-training.
        support: K of each of them.
        inner_steps: S of each of them.
        sequences: sequences in a step of the speech LM's training.
        pairs: N of each of them.
    """

    encoder: dict[str, Any]
    steps: int
    clips: int
    batch: int
    persons: int
    support: int
    inner_steps: int
    sequences: int
    pairs: int


PRESETS = {
    "tiny": ScalingPreset(TINY, 4, 12, 4, 2, 2, 1, 2, 3),
    # With few clips a person, their lengths alone make the processes' work unequal; the protocol has 32.
    "quick": ScalingPreset(
        NARROWER | {"hidden_size": 64, "intermediate_size": 256}, 8, 64, 32, 4, 8, 2, 32, 32
    ),
    "full": ScalingPreset(NARROW, 12, 64, 16, 4, 8, 5, 32, 32),
}


@dataclass
class StepTimer:
    """The seconds of each optimizer step of a training, and the bytes that its processes average in one."""

    seconds: list[float] = field(default_factory=list)
    reduced_bytes: int = 0
    _last: float | None = None

    def note(self, optimizer: Optimizer, *_: object) -> None:
        """Note that a step has ended."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.reduced_bytes = sum(parameter.numel() * parameter.element_size() for parameter in trained)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every optimizer's steps until the block ends."""
        handle = register_optimizer_step_post_hook(self.note)
        try:
            yield
        finally:
            handle.remove()


def scaling_trainings(out: Path, preset: ScalingPresetName = "quick", seed: int = 0) -> None:
    """Time the steps of the three trainings, shared by the processes of this launch.

    Args:
        out: a file for the seconds of each step, by training.
        preset: quick, full (wider, more clips), or tiny (a check that it runs).
        seed: of weights, speech and batches.
    """
    check_outputs(files={"out": out})
    sizes = PRESETS[preset]
    device = str(start_accelerator(seed).device)
    case = make_case(sizes.encoder, sizes.clips, device, seed=seed)
    people = make_tasks(case, seed)
    trainings: dict[str, tuple[int, Callable[[], None]]] = {
        "pretrain": (sizes.batch, lambda: pretrain(case, people, sizes, seed)),
        "meta-train": (sizes.persons, lambda: meta_training(case, people, sizes, seed)),
        "icl-train": (sizes.sequences, lambda: icl_training(case, people, sizes, seed)),
    }
    figures = {}
    for name, (items, train) in trainings.items():
        timer = StepTimer()
        with timer.watching():
            train()
        figures[name] = {
            "items_per_step": items,
            "seconds": timer.seconds[WARM_UP - 1 :],
            "reduced_bytes": timer.reduced_bytes,
        }
    if start_accelerator(seed).is_main_process:
        write_text_atomic(out, json.dumps(figures) + "\n")


def make_tasks(case: MamlCase, seed: int) -> list[Task]:
    """Make listeners, each of whom heard every clip and answered at random."""
    rng = np.random.default_rng(seed)
    names = case.model.emotions.names
    clips = tuple(str(index) for index in range(len(case.waveforms)))
    return [
        Task(
            f"listener-{number}",
            clips,
            tuple((names[emotion],) for emotion in rng.integers(len(names), size=len(clips))),
        )
        for number in range(LISTENERS)
    ]


def pretrain(case: MamlCase, people: list[Task], sizes: ScalingPreset, seed: int) -> None:
    """Train SSL-E, with everything trainable."""
    examples = aggregated_examples(people, case.model.emotions)
    options = PretrainOptions(
        epochs=-(-sizes.steps * sizes.batch // len(examples)),
        batch_size=sizes.batch,
        learning_rate=1e-4,
        weight_decay=0.0,
        seed=seed,
    )
    with TemporaryDirectory() as cache:
        source = ClipSource(WaveformsInMemory(case.waveforms), case.model, Path(cache))
        accelerator, nothing = start_accelerator(seed), Validation(0.0, {})
        train_supervised(
            case.model, examples, source, loss, lambda: nothing, options, accelerator, "pretrain"
        )


def meta_training(case: MamlCase, people: list[Task], sizes: ScalingPreset, seed: int) -> None:
    """Train Meta-PerSER: second-order steps of everything, with learned rates."""
    options = LslrOptions()
    rates = make_rates(list(case.model.trainable_parameters()), sizes.inner_steps, 0.001, options)
    weights = torch.ones(len(case.model.emotions))
    trained = MetaPerSER(case.model, rates, options, sizes.inner_steps, sizes.inner_steps, weights, 0.0).to(
        case.device
    )
    inner = InnerOptions(sizes.inner_steps, sizes.support, adaptation_steps=sizes.inner_steps)
    outer = OuterOptions(
        steps=sizes.steps, batch_size=sizes.persons, learning_rate=1e-5, validate_every=sizes.steps
    )
    with TemporaryDirectory() as cache:
        source = ClipSource(WaveformsInMemory(case.waveforms), case.model, Path(cache))
        validation = [smallest_episode(people[0])]
        OuterLoop(inner, outer, seed=seed).train(trained, source, people, validation, start_accelerator(seed))


def smallest_episode(task: Task) -> Episode:
    """Return an episode of one pair and one query: validation should cost as little as possible."""
    support = Support(task.utterances[:1], task.emotions[:1], 0)
    return Episode("validation", task.person, 0, support, task.utterances[1:2], task.emotions[1:2])


def icl_training(case: MamlCase, people: list[Task], sizes: ScalingPreset, seed: int) -> None:
    """Train tiny-llama and its projector, from pooled features."""
    torch.manual_seed(seed)
    features = {utterance: torch.randn(1, *FEATURE_SHAPE).numpy() for utterance in people[0].utterances}
    store = FeatureStore.of("windows:1", features)
    model = new_model(
        case.model.emotions,
        encoder="tiny-whisper",
        feature_shape=FEATURE_SHAPE,
        language_model="tiny-llama",
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(),
    )
    options = IclOptions(
        pairs=sizes.pairs,
        steps=sizes.steps,
        batch_size=sizes.sequences,
        validate_every=sizes.steps,
        validation_sequences=2,
        seed=seed,
    )
    meta_train(model, people[:-2], people[-2:], store, options, start_accelerator(seed))


if __name__ == "__main__":
    run_command(scaling_trainings)
