"""python -m benchmarks.speed.scaling_trainings --preset quick --out FILE

Steps of each training, timed, by as many processes as are launched: what `benchmarks.speed.scaling` starts.
The loops are those of the commands, with random weights and noise for speech.
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

from benchmarks.speed.maml.case import Case, loss, make_case
from benchmarks.speed.maml.ours import Clips
from benchmarks.speed.maml.presets import NARROW, NARROWER, TINY
from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import InnerOptions, LslrOptions, OuterOptions, PretrainOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.training.supervised import aggregated_examples, train_supervised
from perser.cli.main import run_command
from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Episode, Support, Task
from perser.io.files import write_text_atomic
from perser.training.accelerator import start_accelerator
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.training.meta_training import meta_train
from speechlm_icl.training.options import IclOptions

PresetName = Literal["tiny", "quick", "full"]

FEATURE_SHAPE = (7, 512)
"""Pooled features (L + 1, D) of Whisper base's encoder."""

WARM_UP = 2
"""Steps that are not counted: the first ones wait for memory and for threads."""

PEOPLE = 12


@dataclass(frozen=True)
class Sizes:
    """Of one run.

    Args:
        encoder: what differs from wav2vec2-base in the configuration.
        steps: optimizer steps of each training.
        clips: utterances of the corpus.
        batch: utterances a step of SSL-E's training.
        persons: listeners a step of meta-training.
        support: their K.
        inner_steps: their S.
        sequences: a step of the speech LM's training.
        pairs: their N.
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
    "tiny": Sizes(TINY, 4, 12, 4, 2, 2, 1, 2, 3),
    # Few clips a person would be shared out unequally by their lengths alone; the protocol has 32.
    "quick": Sizes(NARROWER | {"hidden_size": 64, "intermediate_size": 256}, 8, 64, 32, 4, 8, 2, 32, 32),
    "full": Sizes(NARROW, 12, 64, 16, 4, 8, 5, 32, 32),
}


@dataclass
class Steps:
    """The seconds of each optimizer step of a training, and what its processes send each other in one."""

    seconds: list[float] = field(default_factory=list)
    reduced_bytes: int = 0
    _last: float | None = None

    def note(self, optimizer: Optimizer, *given: object) -> None:
        """A step has ended."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now
        moved = [one for group in optimizer.param_groups for one in group["params"]]
        self.reduced_bytes = sum(one.numel() * one.element_size() for one in moved)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every optimizer's steps meanwhile are this training's."""
        handle = register_optimizer_step_post_hook(self.note)
        try:
            yield
        finally:
            handle.remove()


def scaling_trainings(out: Path, preset: PresetName = "quick", seed: int = 0) -> None:
    """Time the steps of the three trainings by the processes that this one was launched with.

    Args:
        out: a file for the seconds of each step, by training.
        preset: quick, full (wider, more clips), or tiny (whether it runs).
        seed: of weights, speech and batches.
    """
    sizes = PRESETS[preset]
    case = make_case(sizes.encoder, sizes.clips, "cpu", seed=seed)
    people = tasks(case, seed)
    trainings: dict[str, tuple[int, Callable[[], None]]] = {
        "pretrain": (sizes.batch, lambda: pretrain(case, people, sizes, seed)),
        "meta-train": (sizes.persons, lambda: meta_training(case, people, sizes, seed)),
        "icl-train": (sizes.sequences, lambda: icl_training(case, people, sizes, seed)),
    }
    found = {}
    for name, (items, train) in trainings.items():
        steps = Steps()
        with steps.watching():
            train()
        found[name] = {
            "items_per_step": items,
            "seconds": steps.seconds[WARM_UP - 1 :],
            "reduced_bytes": steps.reduced_bytes,
        }
    if start_accelerator(seed).is_main_process:
        write_text_atomic(out, json.dumps(found) + "\n")


def tasks(case: Case, seed: int) -> list[Task]:
    """Listeners, each of whom heard every clip and answered at random."""
    rng = np.random.default_rng(seed)
    names = case.model.emotions.names
    clips = tuple(str(place) for place in range(len(case.waveforms)))
    return [
        Task(
            f"listener-{one}",
            clips,
            tuple((names[heard],) for heard in rng.integers(len(names), size=len(clips))),
        )
        for one in range(PEOPLE)
    ]


def pretrain(case: Case, people: list[Task], sizes: Sizes, seed: int) -> None:
    """SSL-E: everything moves."""
    examples = aggregated_examples(people, case.model.emotions)
    options = PretrainOptions(
        epochs=-(-sizes.steps * sizes.batch // len(examples)),
        batch_size=sizes.batch,
        learning_rate=1e-4,
        weight_decay=0.0,
        seed=seed,
    )
    with TemporaryDirectory() as cache:
        source = ClipSource(Clips(case.waveforms), case.model, Path(cache))
        train_supervised(
            case.model, examples, source, loss, lambda: 0.0, options, start_accelerator(seed), "pretrain"
        )


def meta_training(case: Case, people: list[Task], sizes: Sizes, seed: int) -> None:
    """Second-order steps of everything, with learned rates."""
    options = LslrOptions()
    rates = make_rates(list(case.model.moving_parameters()), sizes.inner_steps, 0.001, options)
    emotions = torch.ones(len(case.model.emotions))
    trained = MetaPerSER(case.model, rates, options, sizes.inner_steps, sizes.inner_steps, emotions, 0.0)
    inner = InnerOptions(sizes.inner_steps, sizes.support, adaptation_steps=sizes.inner_steps)
    outer = OuterOptions(
        steps=sizes.steps, batch_size=sizes.persons, learning_rate=1e-5, validate_every=sizes.steps
    )
    with TemporaryDirectory() as cache:
        source = ClipSource(Clips(case.waveforms), case.model, Path(cache))
        OuterLoop(inner, outer, seed=seed).train(
            trained, source, people, [look(people[0])], start_accelerator(seed)
        )


def look(task: Task) -> Episode:
    """The smallest of validations: its time is not a step's."""
    support = Support(task.utterances[:1], task.emotions[:1], 0)
    return Episode("look", task.person, 0, support, task.utterances[1:2], task.emotions[1:2])


def icl_training(case: Case, people: list[Task], sizes: Sizes, seed: int) -> None:
    """tiny-llama and its projector, from pooled features."""
    torch.manual_seed(seed)
    features = {one: torch.randn(1, *FEATURE_SHAPE).numpy() for one in people[0].utterances}
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
