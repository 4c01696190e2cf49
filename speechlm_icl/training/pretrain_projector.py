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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    process does the same.
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
        seed_step(options.seed, number)
        classifier.train()
        size = min(BATCH_SIZE, len(utterance_ids))
        utterances = rng.choice(utterance_ids, size=size, replace=False).tolist()
        clips = clips_on(read_clips(store, utterances), model.device)
        wanted = distributions(utterances, targets).to(model.device)
        read: list[tuple[str, ...]] = [(utterance,) for utterance in utterances]
        if options.projector_mixup:
            shares, others = _drawn_mixture(options.projector_mixup, size, rng)
            clips, wanted = mixed(clips, wanted, shares, others)
            read = [(*own, utterances[other]) for own, other in zip(read, others, strict=True)]
        logits = classifier(clips)
        losses = F.cross_entropy(logits, wanted, reduction="none")
        losses.mean().backward()
        finite = losses.detach().isfinite().tolist()
        parts = [StepPart(names, ok) for names, ok in zip(read, finite, strict=True)]
        return losses.mean().item(), parts

    def validate() -> Validation:
        clips = clips_on(read_clips(store, validation_ids), model.device)
        return _validated(classifier, clips, distributions(validation_ids, validation_targets))

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


def _validated(classifier: ClipClassifier, clips: Clips, wanted: Tensor) -> Validation:
    """Return accuracy and loss on the validation persons' clips; `wanted` are their distributions (B, C)."""
    classifier.eval()
    with torch.no_grad():
        logits = classifier(clips).cpu()
    accuracy = (logits.argmax(dim=1) == wanted.argmax(dim=1)).float().mean().item()
    return Validation(accuracy, {"loss": F.cross_entropy(logits, wanted).item(), "accuracy": accuracy})


def distributions(utterances: Sequence[str], targets: Mapping[str, np.ndarray]) -> Tensor:
    """Return the label distributions of some utterances (B, C)."""
    return torch.tensor(np.stack([targets[utterance] for utterance in utterances]))


def _drawn_mixture(mixup: float, size: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Return each clip's share in its mixture, and the index of the clip that it is mixed with."""
    shares = rng.beta(mixup, mixup, size=size).astype(np.float32)
    return torch.from_numpy(shares), rng.permutation(size)


def mixed(clips: Clips, wanted: Tensor, shares: Tensor, others: np.ndarray) -> tuple[Clips, Tensor]:
    """Return each clip mixed with another one, and their labels mixed alike.

    Where clips have a length, the other clip is stretched or shortened to the length of the first.

    Args:
        clips: Features of n clips.
        wanted: Their label distributions (n, C).
        shares: Share of each clip in its mixture (n,).
        others: Index of the clip that it is mixed with (n,).
    """
    shares = shares.to(wanted.device)
    labels = shares[:, None] * wanted + (1 - shares[:, None]) * wanted[others]
    if isinstance(clips, Tensor):
        share = shares[:, None, None].to(clips.dtype)
        return share * clips + (1 - share) * clips[others], labels
    both = []
    for clip, share, other in zip(clips, shares, others.tolist(), strict=True):
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
