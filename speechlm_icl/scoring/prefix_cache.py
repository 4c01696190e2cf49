"""The prefix cache: keys and values of an enrollment, which is read once for all queries that follow it."""

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
class PrefixCache:
    """The keys and values of a prefix of `length` positions.

    A model extends the cache that it is called with. So it is called with a `view` or `copies` of
    `key_values`, never with `key_values` itself.
    """

    key_values: Cache
    length: int

    def view(self) -> Cache:
        """Return a cache that shares these keys and values without copying them, and grows on its own.

        It works for layers that keep every position (`DynamicLayer`): they grow by replacing their tensor
        with a longer one.
        """
        cache = copy.copy(self.key_values)
        cache.layers = [copy.copy(layer) for layer in self.key_values.layers]
        return cache

    def copies(self, count: int) -> Cache:
        """Return a cache for a batch of `count` sequences that all follow this prefix.

        It works for layers that keep every position and for those that keep only the last ones.
        """
        cache = copy.deepcopy(self.key_values)
        if self.length:
            cache.batch_repeat_interleave(count)
        return cache


@torch.inference_mode()
def build_prefix_cache(
    model: SpeechLMForICL, features: Clips | None, answers: Sequence[Answer]
) -> PrefixCache:
    """Let the model read the instruction and N enrolled pairs; N may be 0.

    Args:
        model: The model, in evaluation mode.
        features: Features of the N enrolled clips; None where there are none.
        answers: The emotions of each clip, as class indices.
    """
    cache = model.language_model.new_cache()
    embeddings = embed_enrollment(model, features, answers)[None]
    length = embeddings.shape[1]
    if length:
        mask = torch.ones((1, length), dtype=torch.int64, device=embeddings.device)
        model.language_model.hidden(embeddings, mask, positions(mask), cache)
    return PrefixCache(cache, length)


def embed_enrollment(model: SpeechLMForICL, features: Clips | None, answers: Sequence[Answer]) -> Tensor:
    """Return the embeddings (num_positions, H) of the instruction and the pairs of `build_prefix_cache`."""
    clips = None if features is None else clips_on(features, model.device)
    return model.embed(model.batch([model.prompt.encode(answers)], clips), clips, query_follows=True)[0]
