"""The projector's own stage: it learns to make clips look like the words for what is heard in them.

The language model's layers take no part, so that this takes seconds. Training the projector through the
frozen model would cost as much as training the adapter too. Afterwards the model meets clips that point
toward its own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Task, aggregated_targets
from perser.episodes.sampling import evenly_spaced
from perser.training.accelerator import cosine_schedule
from perser.training.checkpoint import seed_step
from perser.training.loop import Display, LoopOptions, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.run import TrainingRun
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.training.options import IclOptions

STAGE = "pretrain-projector"
"""Its name in logs and checkpoints."""
BATCH_SIZE = 128
"""Clips a step."""
VALIDATION_CLIPS = 1024
VALIDATE_EVERY = 20
SHARPNESS = 10.0
"""Factor on the cosines. With 1, the softmax over a few labels could never be sure."""


def pretrain_projector(
    model: SpeechLMForICL,
    tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclOptions,
    training_run: TrainingRun,
) -> float:
    """Train the projector in place on the labels that all persons give together; return its validation loss.

    It is left as it did best on the validation persons' clips, because a few hundred steps learn the training
    clips by heart. The loss is in nats a clip. Every process does the same.
    """
    targets = aggregated_targets(tasks, model.prompt.emotions)
    utterance_ids = list(targets)
    validation_targets = aggregated_targets(validation_tasks, model.prompt.emotions)
    validation_ids = evenly_spaced(list(validation_targets), VALIDATION_CLIPS)
    words = label_embeddings(model)
    optimizer = torch.optim.AdamW(
        model.projector.parameters(), lr=options.projector_learning_rate, weight_decay=options.weight_decay
    )
    rng = np.random.default_rng((options.seed, options.projector_steps))

    def step(number: int) -> tuple[float, list[StepPart]]:
        seed_step(options.seed, number)
        model.projector.train()
        size = min(BATCH_SIZE, len(utterance_ids))
        utterances = rng.choice(utterance_ids, size=size, replace=False).tolist()
        losses = alignment_losses(model, utterances, targets, words, store)
        losses.mean().backward()
        finite = losses.detach().isfinite().tolist()
        parts = [StepPart((utterance,), ok) for utterance, ok in zip(utterances, finite, strict=True)]
        return losses.mean().item(), parts

    def validate() -> Validation:
        model.projector.eval()
        with torch.no_grad():
            loss = alignment_losses(model, validation_ids, validation_targets, words, store).mean().item()
        return Validation(-loss, {"loss": loss})

    result = fit(
        training_run,
        STAGE,
        model.projector,
        optimizer,
        step,
        validate,
        LoopOptions(options.projector_steps, VALIDATE_EVERY),
        schedule=cosine_schedule(optimizer, options.projector_steps, options.warmup),
        generators={"sampler": rng},
        display=Display("pretraining the projector"),
    )
    result.best.restore(model.projector)
    return -result.best.score


def label_embeddings(model: SpeechLMForICL) -> Tensor:
    """Return the mean of the input embeddings of each label's tokens, float32 (C, H)."""
    with torch.no_grad():
        tokens = [torch.tensor(label, device=model.device)[None] for label in model.prompt.labels]
        embeddings = [model.language_model.embed(label).float().mean(dim=1) for label in tokens]
        return torch.cat(embeddings)


def alignment_losses(
    model: SpeechLMForICL,
    utterances: Sequence[str],
    targets: Mapping[str, np.ndarray],
    words: Tensor,
    store: FeatureStore,
) -> Tensor:
    """Return the loss of each clip (B,) in nats.

    It is the cross-entropy between the clip's label distribution and the softmax over the labels of SHARPNESS
    times the cosine between the clip's mean embedding and the label's words (C, H).
    """
    frames = model.projector(clips_on(read_clips(store, utterances), model.device))
    clips = torch.stack([clip.mean(dim=0) for clip in frames])
    cosines = F.cosine_similarity(clips[:, None].float(), words[None], dim=-1)
    distributions = np.stack([targets[utterance] for utterance in utterances])
    return F.cross_entropy(
        SHARPNESS * cosines, torch.tensor(distributions, device=model.device), reduction="none"
    )
