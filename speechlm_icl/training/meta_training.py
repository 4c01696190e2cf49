"""Meta-training of the speech language model on sequences of one person's clips and answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from perser.distributed import (
    mean_over_processes,
    own_share_of_batch,
)
from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Episode, Task
from perser.episodes.sampling import evenly_spaced
from perser.errors import UserError
from perser.training.accelerator import cosine_schedule, wrap_for_training
from perser.training.checkpoint import seed_step
from perser.training.loop import Display, LoopOptions, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.run import TrainingRun
from perser.training.sharding import is_sharded
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Store
from speechlm_icl.prompt.prompt import PromptBatch
from speechlm_icl.training.learner import Learner
from speechlm_icl.training.on_episodes import choosing_episodes
from speechlm_icl.training.optimizer import new_optimizer
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.pretrain_projector import STAGE as PRETRAIN_PROJECTOR
from speechlm_icl.training.pretrain_projector import pretrain_projector
from speechlm_icl.training.reading import first_target, read
from speechlm_icl.training.sequences import PairSequence, SequenceSampler, by_length
from speechlm_icl.training.task_drawing import TaskShares
from speechlm_icl.training.validation import ValidationSet

STAGE = "meta-training"
STANDARDIZATION_UTTERANCES = 4096


def meta_train(
    model: Learner,
    train_tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: Store,
    options: IclOptions,
    accelerator: Accelerator,
    training_run: TrainingRun | None = None,
    episodes: Sequence[Episode] = (),
    weights: np.ndarray | None = None,
) -> list[dict[str, float]]:
    """Train in place and leave the model, in evaluation mode, at its best validated step.

    It is chosen on the validation `episodes` (`ValidationSet.measure`). With a `training_run` it goes on from
    that run's checkpoint. `weights` say how likely each training person is to be drawn; None: all equally.
    Returns what each validation found; see `validate`.

    Raises UserError where there are no persons.
    """
    if not train_tasks or not validation_tasks:
        raise UserError("meta-training needs training and validation persons: draw other episodes")
    sampler = _sampler(model, train_tasks, options, weights)
    validation = ValidationSet.draw(
        model, validation_tasks, options, choosing_episodes(episodes, train_tasks)
    )
    training_run = training_run or TrainingRun(accelerator)
    if isinstance(model, SpeechLMForICL):  # an audio LLM comes with a projector that has learned
        _prepare_projector(
            model, train_tasks, validation_tasks, cast(FeatureStore, store), options, training_run
        )
    parts = options.gradient_accumulation_steps + (options.first_answers > 0)
    accelerator.gradient_accumulation_steps = parts
    trained = wrap_for_training(AnswerLosses(model), accelerator, model.language_model.layers)
    optimizer = new_optimizer(model, options)

    def step(number: int) -> tuple[float, list[StepPart]]:
        return _add_gradients(trained, model, sampler, store, options, accelerator, number)

    def validated() -> Validation:
        values, score = validation.measure(model, store, trained if is_sharded() else None)
        return Validation(score, values)

    model.language_model.recompute_layers(options.gradient_checkpointing)
    result = fit(
        training_run,
        STAGE,
        cast(nn.Module, model),
        optimizer,
        step,
        validated,
        LoopOptions(options.steps, options.validate_every, options.clip_norm, unsharded_validation=False),
        schedule=cosine_schedule(optimizer, options.steps, options.warmup),
        trained=trained,
        display=Display(STAGE, " episodes", options.batch_size),
    )
    accelerator.unwrap_model(trained, keep_fp32_wrapper=False)  # the saved model computes in float32
    model.language_model.recompute_layers(False)
    result.best.restore(cast(nn.Module, model))
    model.eval()
    return result.history


def _prepare_projector(
    model: SpeechLMForICL,
    train_tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclOptions,
    training_run: TrainingRun,
) -> None:
    """Standardize what the projector reads, and take its own stage if that is not over."""
    fit_standardization(model, train_tasks, store)
    if options.projector_steps and training_run.stage_found in (None, PRETRAIN_PROJECTOR):
        pretrain_projector(model, train_tasks, validation_tasks, store, options, training_run)


def check_batch_size(options: IclOptions, num_processes: int) -> None:
    """Raise UserError where a process would get fewer sequences a step than it accumulates gradients over."""
    least = options.gradient_accumulation_steps * num_processes
    if options.batch_size < least:
        raise UserError(
            f"batch_size: {options.batch_size} is too few for {num_processes} processes with "
            f"gradient_accumulation_steps: {options.gradient_accumulation_steps}, give at least {least}"
        )


def _sampler(
    model: Learner, tasks: Sequence[Task], options: IclOptions, weights: np.ndarray | None
) -> SequenceSampler:
    return SequenceSampler(
        tasks,
        model.prompt.emotions,
        options.pairs,
        uniform=options.uniform_pairs,
        restricted=options.restricted,
        missing=options.missing,
        shares=TaskShares(
            renamed=options.permute_labels,
            subsets=options.label_subsets,
            balanced=options.balanced_starts,
            merged=options.merged_labels,
            other=options.other_answers,
            styles=options.drawn_styles,
        ),
        drawable=model.label_word_pool if options.label_words == "drawn" and options.permutes else (),
        other=model.prompt.options.other,
        most_labels=options.most_labels,
        weights=weights,
    )


class AnswerLosses(nn.Module):
    """A module whose forward pass is `Learner.losses`, because accelerate wraps modules."""

    def __init__(self, model: Learner) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PromptBatch, features: Any) -> Tensor:
        return self.model.losses(batch, features)


def _add_gradients(
    trained: nn.Module,
    model: Learner,
    sampler: SequenceSampler,
    store: Store,
    options: IclOptions,
    accelerator: Accelerator,
    step: int,
) -> tuple[float, list[StepPart]]:
    """Add up the gradient of one step; return the loss in nats an answer, and the sequences of this process.

    Every process draws the same sequences and takes its share. The loss does not depend on how many processes
    there are, nor on `gradient_accumulation_steps`.

    Args:
        trained: the model's `AnswerLosses` as accelerate wrapped it. The loss goes through the wrapper, which
            takes the mean of the gradients over the processes.
        model: what was wrapped.
        sampler: of the sequences.
        store: the features of their clips.
        options: of the training.
        accelerator: of the training.
        step: counted from 1; with the seed it decides what is drawn.
    """
    trained.train()
    seed_step(options.seed, step, accelerator.process_index)
    share = options.permuted_share(step)
    sequences = sampler.draw(options.batch_size, options.seed, step, renamed=share)
    asked_first = sampler.draw_first(options.first_answers, options.seed, step)
    answers = sum(
        len(sequence.answers) - first_target(sequence, options.loss, guesses=False)
        for sequence in [*sequences, *asked_first]
    )

    length = partial(_positions, model, store)
    own, factor = own_share_of_batch(sequences, length)
    weighed = [(part, factor) for part in by_length(own, options.gradient_accumulation_steps, length)]
    if asked_first:  # in a part of their own, or they would be padded to the length of the sequences
        weighed.append(own_share_of_batch(asked_first, length))
    computed: list[tuple[Sequence[PairSequence], Tensor, Tensor]] = []
    for part, factor in weighed:
        with accelerator.accumulate(trained):
            losses = trained(*read(model, part, store, options.loss, guesses=False))
            loss = losses.sum() / answers * factor
            # accelerate divides by the number of parts, as for a mean over them, but this is a sum.
            accelerator.backward(loss * len(weighed))
        computed.append((part, losses.detach().isfinite().all(dim=1), loss.detach()))
    total, parts = torch.zeros((), dtype=torch.float64), []
    # Read after all parts, because the program waits for a GPU here.
    for part, finite, loss in computed:
        for sequence, is_finite in zip(part, finite.tolist(), strict=True):
            parts.append(StepPart(sequence.utterances, is_finite, sequence.person))
        total += loss.item()
    return mean_over_processes(total), parts


def _positions(model: Learner, store: Store, sequence: PairSequence) -> int:
    """Return about how many positions a sequence takes in a prompt."""
    clips = map(store.num_rows, sequence.utterances)
    if isinstance(model, SpeechLMForICL):
        clips = map(model.projector.options.num_tokens_of_windows, clips)
    return len(sequence.answers) + sum(clips)


def fit_standardization(model: SpeechLMForICL, tasks: Sequence[Task], store: FeatureStore) -> None:
    """Standardize features by the training utterances, or evenly spaced ones where there are very many."""
    utterances = sorted({utterance for task in tasks for utterance in task.utterances})
    chosen = evenly_spaced(utterances, STANDARDIZATION_UTTERANCES)
    model.projector.fit_standardization(store[utterance] for utterance in chosen)
