"""Stage 1: the projector alone learns that clips should look like the words for what is heard in them.

The language model's layers take no part, so that this costs next to nothing, while training the projector
through the frozen model costs as much as training the adapter too; afterwards the model meets clips that
point towards its own words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perser.episodes import Task, aggregated_targets
from perser.features import FeatureStore
from perser.training import cosine, progress
from speechlm_icl.clips import clips_on, read_clips
from speechlm_icl.model import SpeechLMForICL
from speechlm_icl.options import IclTraining

CLIPS_AT_ONCE = 128
SHARPNESS = 10.0
"""What cosines are multiplied by: with 1, the softmax over a few labels could never be sure."""


def align(model: SpeechLMForICL, tasks: Sequence[Task], store: FeatureStore, options: IclTraining) -> float:
    """Train the projector in place on the labels that all persons together give; returns the last steps'
    mean loss in nats a clip."""
    targets = aggregated_targets(tasks, model.prompt.emotions)
    words = label_embeddings(model)
    optimizer = torch.optim.AdamW(
        model.projector.parameters(), lr=options.align_learning_rate, weight_decay=options.weight_decay
    )
    schedule = cosine(optimizer, options.align_steps, options.warmup)
    rng = np.random.default_rng((options.seed, options.align_steps))
    losses: list[float] = []
    model.projector.train()
    with progress(options.align_steps, "aligning the projector") as bar:
        for _ in range(options.align_steps):
            utterances = rng.choice(list(targets), size=min(CLIPS_AT_ONCE, len(targets)), replace=False)
            loss = alignment_loss(model, utterances.tolist(), targets, words, store)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
            bar.update()
    return float(np.mean(losses[-20:]))


def label_embeddings(model: SpeechLMForICL) -> Tensor:
    """The mean of the input embeddings of each label's tokens, float32 (C, H)."""
    with torch.no_grad():
        tokens = [torch.tensor(label, device=model.device)[None] for label in model.prompt.labels]
        return torch.cat([model.language_model.embed(one).float().mean(dim=1) for one in tokens])


def alignment_loss(
    model: SpeechLMForICL,
    utterances: Sequence[str],
    targets: Mapping[str, np.ndarray],
    words: Tensor,
    store: FeatureStore,
) -> Tensor:
    """Cross-entropy in nats a clip between the label distributions of the clips and the softmax of the
    cosines, times SHARPNESS, between a clip's mean embedding and the label words' (C, H)."""
    frames = model.projector(clips_on(read_clips(store, utterances), model.device))
    clips = torch.stack([one.mean(dim=0) for one in frames])
    cosines = F.cosine_similarity(clips[:, None].float(), words[None], dim=-1)
    wanted = torch.from_numpy(np.stack([targets[one] for one in utterances])).to(model.device)
    return F.cross_entropy(SHARPNESS * cosines, wanted)
