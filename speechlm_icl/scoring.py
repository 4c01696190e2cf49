"""Probabilities over the emotions, from a language model: read the enrolment once, then score every query."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from speechlm_icl.model import SpeechLanguageModel
from speechlm_icl.prompt import Answer, collate

QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class Enrolment:
    """An enrolment as the language model has read it: the key/value cache of its `length` positions.

    The cache holds one sequence and is never handed to the model, which would change it in place: queries get
    copies (`copies`).
    """

    cache: Cache
    length: int

    def copies(self, count: int) -> Cache:
        """A cache for `count` queries that all follow this enrolment."""
        cache = copy.deepcopy(self.cache)
        if self.length:
            cache.batch_repeat_interleave(count)
        return cache


@torch.inference_mode()
def read_enrolment(
    model: SpeechLanguageModel, features: Tensor | None, answers: Sequence[Answer]
) -> Enrolment:
    """Let the model read the instruction and N pairs; N may be 0.

    Args:
        model: In evaluation mode.
        features: Pooled features of the enrolment clips (N, L+1, D); None where there is no pair.
        answers: The emotions of each, as class indices.
    """
    language_model = model.language_model
    cache = language_model.new_cache()
    prompt = model.prompt.encode(answers)
    if prompt.token_ids:
        batch = collate([prompt]).to(model.device)
        embeddings = model.embed(batch, None if features is None else features.to(model.device))
        language_model.hidden(embeddings, batch.attention_mask, batch.position_ids, cache)
    return Enrolment(cache, len(prompt.token_ids))


@torch.inference_mode()
def score_queries(model: SpeechLanguageModel, enrolment: Enrolment, features: Tensor) -> Tensor:
    """Log-probability that each emotion's words come first in the answer, for queries (Q, L+1, D).

    Several emotions are said in random order while training, so this is the emotion's share of the label.
    Returns float32 (Q, C), not normalised over the emotions, on the CPU. Queries do not see each other.
    """
    scores = torch.empty(len(features), len(model.prompt.labels))
    for start in range(0, len(features), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        frames = model.projector(features[rows].to(model.device))
        for stem, emotions in _stems(model.prompt.labels).items():
            # (queries, 1 + len(stem), V): what follows the audio, and each token of the stem
            log_probabilities = _continue(model, enrolment, frames, stem)
            for emotion in emotions:
                label = torch.tensor(model.prompt.labels[emotion], device=model.device)
                steps = torch.arange(len(label), device=model.device)
                scores[rows, emotion] = log_probabilities[:, steps, label].sum(dim=1).cpu()
    return scores


def label_log_probabilities(
    model: SpeechLanguageModel,
    enrolment_features: Tensor | None,
    answers: Sequence[Answer],
    query_features: Tensor,
) -> Tensor:
    """`score_queries` after `read_enrolment`: float32 (Q, C)."""
    return score_queries(model, read_enrolment(model, enrolment_features, answers), query_features)


def _stems(labels: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], list[int]]:
    """Emotions by all but the last token of their label: emotions of one stem are scored by one pass, so that
    labels of one token each take a single pass."""
    stems: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for emotion, label in enumerate(labels):
        stems[label[:-1]].append(emotion)
    return stems


def _continue(
    model: SpeechLanguageModel, enrolment: Enrolment, frames: Tensor, stem: tuple[int, ...]
) -> Tensor:
    """Log-probabilities (Q, 1 + len(stem), V) of what follows each query's frames (Q, F, H) with the cue, and
    then each token of the stem."""
    language_model = model.language_model
    queries, num_frames, _ = frames.shape
    cue = model.prompt.turns.cue
    stem_ids = torch.tensor([*cue, *stem], dtype=torch.int64, device=frames.device).expand(queries, -1)
    stem_embeddings = language_model.embed(stem_ids)
    embeddings = torch.cat([frames.to(stem_embeddings.dtype), stem_embeddings], dim=1)
    length = enrolment.length + embeddings.shape[1]
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.ones((queries, length), dtype=torch.int64, device=frames.device),
        position_ids=torch.arange(enrolment.length, length, device=frames.device).expand(queries, -1),
        cache=enrolment.copies(queries),
    )
    return language_model.logits(hidden[:, num_frames + len(cue) - 1 :]).float().log_softmax(dim=-1)
