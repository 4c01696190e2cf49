"""Probabilities over the emotions, from a language model: read the enrolment once, then score every query."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from speechlm_icl.clips import clips_on
from speechlm_icl.model import SpeechLMForICL
from speechlm_icl.projector import Clips
from speechlm_icl.prompt import Answer
from speechlm_icl.splicing import pad_left, positions

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
def read_enrolment(model: SpeechLMForICL, features: Clips | None, answers: Sequence[Answer]) -> Enrolment:
    """Let the model read the instruction and N pairs; N may be 0.

    Args:
        model: In evaluation mode.
        features: Features of the N enrolment clips; None where there is no pair.
        answers: The emotions of each, as class indices.
    """
    language_model = model.language_model
    cache = language_model.new_cache()
    prompt = model.prompt.encode(answers)
    if prompt.token_ids:
        clips = None if features is None else clips_on(features, model.device)
        batch = model.batch([prompt], clips)
        language_model.hidden(model.embed(batch, clips), batch.attention_mask, batch.position_ids, cache)
    return Enrolment(cache, cache.get_seq_length())


@torch.inference_mode()
def score_queries(model: SpeechLMForICL, enrolment: Enrolment, features: Clips) -> Tensor:
    """Log-probability that each emotion's words come first in the answer, for Q queries.

    Several emotions are said in random order while training, so this is the emotion's share of the label.
    Returns float32 (Q, C), not normalised over the emotions, on the CPU. Queries do not see each other.
    """
    scores = torch.empty(len(features), len(model.prompt.labels))
    for start in range(0, len(features), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        frames, mask = pad_left(model.projector(clips_on(features[rows], model.device)))
        for stem, emotions in _stems(model.prompt.labels).items():
            # (queries, 1 + len(stem), V): what follows the audio, and each token of the stem
            log_probabilities = _continue(model, enrolment, frames, mask, stem)
            for emotion in emotions:
                label = torch.tensor(model.prompt.labels[emotion], device=model.device)
                steps = torch.arange(len(label), device=model.device)
                scores[rows, emotion] = log_probabilities[:, steps, label].sum(dim=1).cpu()
    return scores


def label_log_probabilities(
    model: SpeechLMForICL,
    enrolment_features: Clips | None,
    answers: Sequence[Answer],
    query_features: Clips,
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
    model: SpeechLMForICL, enrolment: Enrolment, frames: Tensor, mask: Tensor, stem: tuple[int, ...]
) -> Tensor:
    """Log-probabilities (Q, 1 + len(stem), V) of what follows each query's frames (Q, F, H), which end
    together (mask (Q, F)), with the cue, and then each token of the stem."""
    language_model = model.language_model
    queries, num_frames, _ = frames.shape
    cue = model.prompt.turns.cue
    stem_ids = torch.tensor([*cue, *stem], dtype=torch.int64, device=frames.device).expand(queries, -1)
    stem_embeddings = language_model.embed(stem_ids)
    own = torch.cat([mask, torch.ones_like(stem_ids)], dim=1)
    hidden = language_model.hidden(
        torch.cat([frames.to(stem_embeddings.dtype), stem_embeddings], dim=1),
        attention_mask=torch.cat([own.new_ones(queries, enrolment.length), own], dim=1),
        position_ids=enrolment.length + positions(own),
        cache=enrolment.copies(queries),
    )
    return language_model.logits(hidden[:, num_frames + len(cue) - 1 :]).float().log_softmax(dim=-1)
