"""Score labels: the log-probability of each emotion's label for each query, after an enrollment.

`score_queries` computes the scores: change it to change how a label is scored. `calibrate` corrects them for
the prompt's bias, which is the scores of a content-free clip (contextual calibration, Zhao et al. 2021,
Calibrate Before Use, arXiv 2102.09690). That bias includes how often the person gives each emotion in the
enrollment. Where persons differ mostly in that, calibration can cost more than it gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips, clips_on
from speechlm_icl.prompt.prompt import Answer
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import PrefixCache, build_prefix_cache
from speechlm_icl.scoring.tree_attention import batched_hidden_states, can_pack, packed_hidden_states

POSITIONS_PER_PASS = {"cpu": 256, "cuda": 2048}
"""How many positions of queries one forward pass reads, by device. Enough to fill a matrix product, and not
more, because packed queries waste work on masked attention to each other."""


@torch.inference_mode()
def score_queries(model: SpeechLMForICL, prefix: PrefixCache, features: Clips) -> Tensor:
    """Return the log-probability that each emotion's label begins the answer, for each of Q queries.

    In training, the emotions of an answer are in random order, so this estimates an emotion's share of the
    answer. Queries do not affect each other.

    Args:
        model: The model, in evaluation mode.
        prefix: The enrollment, from `build_prefix_cache`.
        features: Features of the Q query clips.

    Returns float32 (Q, C), not normalized over the emotions, on the CPU.
    """
    trie, language_model = LabelTrie(model.prompt.labels), model.language_model
    hidden_states = packed_hidden_states if can_pack(language_model) else batched_hidden_states
    cue = language_model.embed(
        torch.tensor(model.prompt.template.cue, dtype=torch.int64, device=model.device)[None]
    )[0]
    frames = [
        torch.cat([clip.to(cue.dtype), cue]) for clip in model.projector(clips_on(features, model.device))
    ]
    limit = POSITIONS_PER_PASS.get(model.device.type, POSITIONS_PER_PASS["cuda"])
    scores = [
        trie.scores(language_model.logits(hidden_states(language_model, prefix, part, trie))).cpu()
        for part in _split_by_positions(frames, len(trie.nodes), limit)
    ]
    return torch.cat(scores)


@singledispatch
def label_log_probabilities(
    model: Any,
    enrollment_features: Any,
    answers: Sequence[Answer],
    query_features: Any,
) -> Tensor:
    """Build the prefix cache of an enrollment and score queries after it: float32 (Q, C).

    An audio LLM has a way of its own (`speechlm_icl.audio_llm.learner`).
    """
    return score_queries(model, build_prefix_cache(model, enrollment_features, answers), query_features)


def calibrate(scores: Tensor, content_free: Tensor) -> Tensor:
    """Divide probabilities by those of the content-free clip (W = diag(p_cf)^-1, b = 0 in the paper).

    Args:
        scores: Scores of the queries (Q, C).
        content_free: Scores of the content-free clip (1, C), from `score_content_free`.

    Returns log-probabilities (Q, C), not normalized over the emotions.
    """
    return scores - content_free


def score_content_free(model: SpeechLMForICL, prefix: PrefixCache) -> Tensor:
    """Return `score_queries` of the content-free clip: (1, C)."""
    return score_queries(model, prefix, content_free_clip(model))


def content_free_clip(model: SpeechLMForICL) -> Clips:
    """Return the features of a clip that says nothing about its emotion: the mean of the training clips.

    They are (1, L+1, D) where the projector reads pooled features, else one window of them. The clip is not
    silence: silence is unlike every training clip, and a listener may well call it `neutral`, so it would not
    be free of content.
    """
    mean = model.projector.mean[None]
    return mean if model.projector.options.level == "pooled" else [mean]


def _split_by_positions(frames: Sequence[Tensor], num_nodes: int, limit: int) -> list[list[Tensor]]:
    """Split the queries' frames into parts of at most `limit` positions, counting the trie's nodes, too.

    A query that is longer than the limit is a part of its own.
    """
    parts: list[list[Tensor]] = []
    room = 0
    for clip in frames:
        room -= len(clip) + num_nodes - 1
        if room < 0:
            parts.append([])
            room = limit - (len(clip) + num_nodes - 1)
        parts[-1].append(clip)
    return parts
