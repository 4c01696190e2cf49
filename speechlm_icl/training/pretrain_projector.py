"""Stage 1: the projector alone learns that clips should look like the words for what is heard in them.

The language model's layers take no part, so that this costs next to nothing, while training the projector
through the frozen model costs as much as training the adapter too; afterwards the model meets clips that
point toward its own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perser.distributed import progress
from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Task, aggregated_targets
from perser.episodes.sampling import evenly_spaced
from perser.training.accelerator import cosine
from perser.training.checkpoint import TrainingState, seed_step
from perser.training.loop import BestWeights
from perser.training.nonfinite import Part
from perser.training.run import TrainingRun
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import clips_on, read_clips
from speechlm_icl.training.options import IclTraining

STAGE = "align"

CLIPS_AT_ONCE = 128

VALIDATION_CLIPS = 1024

LOOK_EVERY = 20
"""Steps between two looks at the validation clips."""

SHARPNESS = 10.0
"""What cosines are multiplied by: with 1, the softmax over a few labels could never be sure."""


def align(
    model: SpeechLMForICL,
    tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclTraining,
    training_run: TrainingRun,
) -> float:
    """Train the projector in place on the labels that all persons together give, and leave it as it did best
    on the validation persons' clips: a few hundred steps know the training clips by heart. Returns its loss
    there, in nats a clip. Every process does the same."""
    targets = aggregated_targets(tasks, model.prompt.emotions)
    held_out = aggregated_targets(validation_tasks, model.prompt.emotions)
    looked_at = evenly_spaced(list(held_out), VALIDATION_CLIPS)
    words = label_embeddings(model)
    optimizer = torch.optim.AdamW(
        model.projector.parameters(), lr=options.align_learning_rate, weight_decay=options.weight_decay
    )
    schedule = cosine(optimizer, options.align_steps, options.warmup)
    rng = np.random.default_rng((options.seed, options.align_steps))
    best = BestWeights()
    state = TrainingState(model.projector, optimizer, schedule, best, {"sampler": rng})
    with (
        training_run.stage(STAGE, state, model.projector) as stage,
        progress(options.align_steps, "aligning the projector", stage.done) as bar,
    ):
        for step in range(stage.done + 1, options.align_steps + 1):
            seed_step(options.seed, step)
            model.projector.train()
            utterances = rng.choice(list(targets), size=min(CLIPS_AT_ONCE, len(targets)), replace=False)
            losses = alignment_losses(model, utterances.tolist(), targets, words, store)
            losses.mean().backward()
            finite = losses.detach().isfinite().tolist()
            parts = [Part((one,), sound) for one, sound in zip(utterances.tolist(), finite, strict=True)]
            stage.update(step, losses.mean().item(), parts)
            bar.update()
            found = {}
            if step % LOOK_EVERY == 0 or step == options.align_steps:
                model.projector.eval()
                with torch.no_grad():
                    looked = alignment_losses(model, looked_at, held_out, words, store).mean().item()
                found["validation_loss"] = looked
                best.offer(-looked, step, model.projector)
                bar.set_postfix(loss=f"{losses.mean().item():.3f}", validation=f"{looked:.3f}")
            stage.ended(step, **found)
    best.restore(model.projector)
    return -best.score


def label_embeddings(model: SpeechLMForICL) -> Tensor:
    """The mean of the input embeddings of each label's tokens, float32 (C, H)."""
    with torch.no_grad():
        tokens = [torch.tensor(label, device=model.device)[None] for label in model.prompt.labels]
        return torch.cat([model.language_model.embed(one).float().mean(dim=1) for one in tokens])


def alignment_losses(
    model: SpeechLMForICL,
    utterances: Sequence[str],
    targets: Mapping[str, np.ndarray],
    words: Tensor,
    store: FeatureStore,
) -> Tensor:
    """Of each clip (B,), the cross-entropy in nats between its label distribution and the softmax of the
    cosines, times SHARPNESS, between its mean embedding and the label words' (C, H)."""
    frames = model.projector(clips_on(read_clips(store, utterances), model.device))
    clips = torch.stack([one.mean(dim=0) for one in frames])
    cosines = F.cosine_similarity(clips[:, None].float(), words[None], dim=-1)
    wanted = torch.tensor(np.stack([targets[one] for one in utterances]), device=model.device)
    return F.cross_entropy(SHARPNESS * cosines, wanted, reduction="none")
