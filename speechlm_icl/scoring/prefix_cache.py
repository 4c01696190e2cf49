"""An enrollment as the language model has read it, once for all queries that follow it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips, clips_on
from speechlm_icl.prompt.prompt import Answer, positions


@dataclass(frozen=True)
class Enrollment:
    """The key/value cache of one sequence of `length` positions.

    A model grows the cache that it is given: it is given a `view` or `copies`, never this one.
    """

    cache: Cache
    length: int

    def view(self) -> Cache:
        """A cache that begins with these keys and values, not copied, and grows apart from them: a layer that
        keeps every position (`DynamicLayer`) puts a longer tensor in the place of its own."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return cache

    def copies(self, count: int) -> Cache:
        """A cache for `count` sequences that all follow this enrollment, whether its layers keep
        every position or the last ones."""
        cache = copy.deepcopy(self.cache)
        if self.length:
            cache.batch_repeat_interleave(count)
        return cache


@torch.inference_mode()
def cache_enrollment(model: SpeechLMForICL, features: Clips | None, answers: Sequence[Answer]) -> Enrollment:
    """Let the model read the instruction and N pairs; N may be 0.

    Args:
        model: In evaluation mode.
        features: Features of the N enrollment clips; None where there is no pair.
        answers: The emotions of each, as class indices.
    """
    cache = model.language_model.new_cache()
    embeddings = embed_enrollment(model, features, answers)[None]
    length = embeddings.shape[1]
    if length:
        real = torch.ones((1, length), dtype=torch.int64, device=embeddings.device)
        model.language_model.hidden(embeddings, real, positions(real), cache)
    return Enrollment(cache, length)


def embed_enrollment(model: SpeechLMForICL, features: Clips | None, answers: Sequence[Answer]) -> Tensor:
    """Embeddings (num_positions, H) of the instruction and the pairs, as of `cache_enrollment`."""
    clips = None if features is None else clips_on(features, model.device)
    return model.embed(model.batch([model.prompt.encode(answers)], clips), clips)[0]
