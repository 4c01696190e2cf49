"""The projector's own stage: it learns to tell emotions apart, with a classifier's head that is thrown away.

The language model takes no part, so that this takes seconds. Afterwards clips with the same emotion have
similar embeddings, whoever speaks. From a projector with random weights, clips are like each other by voice
and room; a language model that is to find the enrolled clips like a query then learns nothing for hundreds
of steps.

Clips and their labels are mixed (mixup, Zhang et al. 2018, arXiv 1710.09412). A projector that knows the
training clips by heart shows the language model clips that are far clearer than those of a new person. The
language model then learns to be sure where it should weigh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perser.distributed import (
    average_gradients,
    mean_over_processes,
    own_items,
    own_share_of_batch,
    processes,
    sum_over_processes,
)
from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Task, aggregated_targets
from perser.episodes.sampling import evenly_spaced
from perser.training.accelerator import cosine_schedule
from perser.training.checkpoint import seed_step
from perser.training.loop import Display, LoopOptions, Validation, fit
from perser.training.nonfinite import StepPart
from perser.training.run import TrainingRun
from speechlm_icl.model.binding import clip_means
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips, Projector, clips_on, read_clips
from speechlm_icl.training.options import IclOptions

STAGE = "pretrain-projector"
"""Its name in logs and checkpoints."""
BATCH_SIZE = 256
"""Clips a step."""
VALIDATION_CLIPS = 1024
VALIDATE_EVERY = 20


def pretrain_projector(
    model: SpeechLMForICL,
    tasks: Sequence[Task],
    validation_tasks: Sequence[Task],
    store: FeatureStore,
    options: IclOptions,
    training_run: TrainingRun,
) -> float:
    """Train the projector in place on the labels that all persons give together; return its accuracy.

    The accuracy is that on the validation persons' clips. The projector is left at its last step. Every
    process draws the same clips and takes its share. All of them hold the whole projector, also where the
    language model's weights are sharded.
    """
    targets = aggregated_targets(tasks, model.prompt.emotions)
    utterance_ids = list(targets)
    validation_targets = aggregated_targets(validation_tasks, model.prompt.emotions)
    validation_ids = evenly_spaced(list(validation_targets), VALIDATION_CLIPS)
    scale = model.language_model.embedding_scale
    classifier = ClipClassifier(model.projector, scale, len(model.prompt.emotions)).to(model.device)
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=options.projector_learning_rate, weight_decay=options.weight_decay
    )
    rng = np.random.default_rng((options.seed, options.projector_steps))

    def step(number: int) -> tuple[float, list[StepPart]]:
        seed_step(options.seed, number, processes().process_index)
        classifier.train()
        size = min(BATCH_SIZE, len(utterance_ids))
        utterances = rng.choice(utterance_ids, size=size, replace=False).tolist()
        mixture = _drawn_mixture(options.projector_mixup, size, rng) if options.projector_mixup else None
        own = _own_part(utterances, mixture, targets, store, model.device)
        losses = F.cross_entropy(classifier(own.clips), own.wanted, reduction="none")
        loss = losses.sum() / size * own.factor
        loss.backward()
        average_gradients(classifier.parameters())
        finite = losses.detach().isfinite().tolist()
        parts = [StepPart(clip, ok) for clip, ok in zip(own.read, finite, strict=True)]
        return mean_over_processes(loss.detach().double()), parts

    def validate() -> Validation:
        own = own_items(validation_ids)
        clips = clips_on(read_clips(store, own), model.device) if own else []
        wanted = distributions(own, validation_targets) if own else torch.zeros(0, 1)
        return _validated(classifier, clips, wanted, len(validation_ids))

    result = fit(
        training_run,
        STAGE,
        classifier,
        optimizer,
        step,
        validate,
        LoopOptions(options.projector_steps, VALIDATE_EVERY),
        schedule=cosine_schedule(optimizer, options.projector_steps, options.warmup),
        generators={"sampler": rng},
        display=Display("pretraining the projector"),
    )
    return result.history[-1]["accuracy"] if result.history else validate().score


class BatchPart(NamedTuple):
    """One process's part of a batch: n clips.

    Args:
        clips: Their features, mixed.
        wanted: Their label distributions (n, C), mixed alike.
        read: The utterances of each.
        factor: Of the process's loss; see `own_share_of_batch`.
    """

    clips: Clips
    wanted: Tensor
    read: list[tuple[str, ...]]
    factor: float


def _own_part(
    utterances: Sequence[str],
    mixture: ClipMixture | None,
    targets: Mapping[str, np.ndarray],
    store: FeatureStore,
    device: torch.device,
) -> BatchPart:
    """Return this process's part of a batch; only what it needs is read."""
    places, factor = own_share_of_batch(
        range(len(utterances)), lambda place: store.num_rows(utterances[place])
    )
    own = list(places)
    names = [utterances[place] for place in own]
    if mixture is None:
        clips = clips_on(read_clips(store, names), device)
        return BatchPart(clips, distributions(names, targets).to(device), [(name,) for name in names], factor)
    partners = [utterances[other] for other in mixture.others[own]]
    needed = list(dict.fromkeys([*names, *partners]))
    clips, wanted = mixed(
        clips_on(read_clips(store, needed), device),
        distributions(needed, targets).to(device),
        mixture.shares[own],
        np.array([needed.index(partner) for partner in partners]),
    )
    return BatchPart(clips, wanted, list(zip(names, partners, strict=True)), factor)


def _validated(classifier: ClipClassifier, clips: Clips, wanted: Tensor, total: int) -> Validation:
    """Return accuracy and loss on the validation persons' clips, which the processes share.

    Args:
        classifier: What is trained.
        clips: Features of this process's clips; there may be none.
        wanted: Their label distributions (B, C).
        total: How many clips all processes have.
    """
    classifier.eval()
    found = torch.zeros(2, dtype=torch.float64)
    if len(clips):
        with torch.no_grad():
            logits = classifier(clips).cpu()
        found[0] = (logits.argmax(dim=1) == wanted.argmax(dim=1)).sum()
        found[1] = F.cross_entropy(logits, wanted, reduction="sum")
    accuracy, loss = (sum_over_processes(found) / total).tolist()
    return Validation(accuracy, {"loss": loss, "accuracy": accuracy})


def distributions(utterances: Sequence[str], targets: Mapping[str, np.ndarray]) -> Tensor:
    """Return the label distributions of some utterances (B, C)."""
    return torch.tensor(np.stack([targets[utterance] for utterance in utterances]))


class ClipMixture(NamedTuple):
    """Each clip's share in its mixture (n,), and the index of the clip that it is mixed with (n,)."""

    shares: Tensor
    others: np.ndarray


def _drawn_mixture(mixup: float, size: int, rng: np.random.Generator) -> ClipMixture:
    shares = rng.beta(mixup, mixup, size=size).astype(np.float32)
    return ClipMixture(torch.from_numpy(shares), rng.permutation(size))


def mixed(clips: Clips, wanted: Tensor, shares: Tensor, others: np.ndarray) -> tuple[Clips, Tensor]:
    """Return each of the first n clips mixed with another clip, and their labels mixed alike.

    Where clips have a length, the other clip is stretched or shortened to the length of the first.

    Args:
        clips: Features of these n clips, and of further ones that they may be mixed with.
        wanted: The label distributions of all of them.
        shares: Share of each clip in its mixture (n,).
        others: Index of the clip that it is mixed with (n,).
    """
    shares = shares.to(wanted.device)
    count = len(shares)
    labels = shares[:, None] * wanted[:count] + (1 - shares[:, None]) * wanted[others]
    if isinstance(clips, Tensor):
        share = shares[:, None, None].to(clips.dtype)
        return share * clips[:count] + (1 - share) * clips[others], labels
    both = []
    for clip, share, other in zip(clips[:count], shares, others.tolist(), strict=True):
        places = torch.linspace(0, len(clips[other]) - 1, len(clip), device=clip.device).round().long()
        both.append(share.to(clip.dtype) * clip + (1 - share).to(clip.dtype) * clips[other][places])
    return both, labels


class ClipClassifier(nn.Module):
    """The projector with a linear head on the mean of a clip's embeddings.

    Args:
        projector: The projector.
        embedding_scale: Root mean square of the embeddings, by which the head's inputs are divided.
        num_emotions: Number of emotions.
    """

    def __init__(self, projector: Projector, embedding_scale: float, num_emotions: int) -> None:
        super().__init__()
        self.projector = projector
        dtype = next(projector.parameters()).dtype
        self.head = nn.Linear(projector.hidden_size, num_emotions, dtype=dtype)
        self._scale = embedding_scale

    def forward(self, clips: Clips) -> Tensor:
        """Return the logits of each clip (B, C), float32."""
        return self.head(clip_means(self.projector(clips)) / self._scale).float()
