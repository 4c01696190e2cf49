"""Probabilities over the emotions, from a language model: read the enrollment once, then score every query.

Contextual calibration: what a prompt answers to a clip that says nothing is its bias (Zhao et al. 2021,
Calibrate Before Use, arXiv 2102.09690).

The bias that it takes away includes what the enrollment tells of how often the person gives each emotion;
where persons differ mostly in that, it can cost more than it brings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips, clips_on
from speechlm_icl.prompt.prompt import Answer
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import Enrollment, cache_enrollment
from speechlm_icl.scoring.tree_attention import can_pack, hidden_by_rows, hidden_packed

AT_ONCE = {"cpu": 256, "cuda": 2048}
"""Positions of queries that are read together: enough to fill a matrix product, and few, because in one
sequence a query also computes, in vain, its attention to the others."""


@torch.inference_mode()
def score_queries(model: SpeechLMForICL, enrollment: Enrollment, features: Clips) -> Tensor:
    """Log-probability that each emotion's words come first in the answer, for Q queries' features.

    Several emotions are said in random order while training, so this is the emotion's share of the label.
    Returns float32 (Q, C), not normalized over the emotions, on the CPU. Queries do not see each other.
    """
    tree, language_model = LabelTrie(model.prompt.labels), model.language_model
    hidden_after = hidden_packed if can_pack(language_model) else hidden_by_rows
    cue = language_model.embed(
        torch.tensor(model.prompt.turns.cue, dtype=torch.int64, device=model.device)[None]
    )[0]
    frames = [
        torch.cat([clip.to(cue.dtype), cue]) for clip in model.projector(clips_on(features, model.device))
    ]
    scores = [
        tree.scores(language_model.logits(hidden_after(language_model, enrollment, part, tree))).cpu()
        for part in _parts(frames, len(tree.stems), AT_ONCE.get(model.device.type, AT_ONCE["cuda"]))
    ]
    return torch.cat(scores)


def label_log_probabilities(
    model: SpeechLMForICL,
    enrollment_features: Clips | None,
    answers: Sequence[Answer],
    query_features: Clips,
) -> Tensor:
    """`score_queries` after `cache_enrollment`: float32 (Q, C)."""
    return score_queries(model, cache_enrollment(model, enrollment_features, answers), query_features)


def _parts(frames: Sequence[Tensor], num_stems: int, at_once: int) -> list[list[Tensor]]:
    """The queries' frames in parts of about `at_once` positions, stems counted."""
    parts: list[list[Tensor]] = []
    room = 0
    for clip in frames:
        room -= len(clip) + num_stems - 1
        if room < 0:
            parts.append([])
            room = at_once - (len(clip) + num_stems - 1)
        parts[-1].append(clip)
    return parts


def content_free(model: SpeechLMForICL) -> Clips:
    """Features of one clip without content: the mean of the training clips, (1, L+1, D) where the projector
    reads time means, else one window of it.

    Not silence: that is far from every clip that the model was trained on, and a listener who is asked about
    it may well say `neutral`, so it would not be free of content. The mean of what all clips sound like
    tells none of them from the others.
    """
    mean = model.projector.mean[None]
    return mean if model.projector.options.level == "pooled" else [mean]


def score_free(model: SpeechLMForICL, enrollment: Enrollment) -> Tensor:
    """`score_queries` of the content-free clip: (1, C)."""
    return score_queries(model, enrollment, content_free(model))


def calibrate(scores: Tensor, free: Tensor) -> Tensor:
    """q ∝ p / p_cf (the paper's W = diag(p_cf)^-1, b = 0) as log-probabilities, not normalized: scores (Q, C)
    of queries less those of the content-free clip (1, C)."""
    return scores - free
