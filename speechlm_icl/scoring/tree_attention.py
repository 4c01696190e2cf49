"""Queries as a batch of rows after copies of the enrollment: for language models that cannot take them in one
sequence (`packed_queries`), such as those whose attention slides.

Queries as one sequence after the enrollment: its keys and values are read where they lie, never repeated.

    enrollment | frames of query 0, stems of the labels | frames of query 1, stems of the labels | ...

A mask lets each position attend to the enrollment, to its own query's frames and to its own stem's
beginnings, as in the tree attention of speculative decoding (Miao et al. 2024, SpecInfer, arXiv 2305.09781),
so that what stands in one sequence is as if each query and label stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicLayer

from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.prompt import positions
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import Enrollment


def hidden_by_rows(
    language_model: LanguageModel, enrollment: Enrollment, frames: Sequence[Tensor], tree: LabelTrie
) -> Tensor:
    """Last hidden states (Q, num_stems, H), as of `hidden_packed`; a row for each query and longest stem."""
    device, endings = frames[0].device, tree.longest()
    tokens = [torch.tensor(stem, dtype=torch.int64, device=device) for stem in endings]
    stem_embeddings = [language_model.embed(one[None])[0] for one in tokens]
    rows = [torch.cat([clip.to(stem.dtype), stem]) for clip in frames for stem in stem_embeddings]
    embeddings = pad_sequence(rows, batch_first=True)
    count, width, _ = embeddings.shape
    lengths = torch.tensor([len(row) for row in rows], device=device)
    real = torch.arange(width, device=device) < lengths[:, None]
    enrolled = torch.ones((count, enrollment.length), dtype=torch.int64, device=device)
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.cat([enrolled, real.to(torch.int64)], dim=1),
        position_ids=torch.arange(enrollment.length, enrollment.length + width, device=device).expand(
            count, -1
        ),
        cache=enrollment.copies(count),
    ).unflatten(0, (len(frames), len(endings)))
    held = [next(row for row, end in enumerate(endings) if end[: len(stem)] == stem) for stem in tree.stems]
    last_frames = torch.tensor([len(clip) - 1 for clip in frames], device=device)
    places = last_frames[:, None] + tree.depths.to(device)
    queries = torch.arange(len(frames), device=device)[:, None]
    return hidden[queries, torch.tensor(held, device=device), places]


_MASKABLE = ("eager", "sdpa")
"""The attention functions that take any mask."""

_TOLERANCE, _COARSE_TOLERANCE = 1e-3, 0.05
"""Of hidden states, relative to their norm: what rounding may do, in float32 and in coarser numbers."""

_known: WeakKeyDictionary[LanguageModel, bool] = WeakKeyDictionary()


def hidden_packed(
    language_model: LanguageModel, enrollment: Enrollment, frames: Sequence[Tensor], tree: LabelTrie
) -> Tensor:
    """Last hidden states (Q, num_stems, H) of each query's last frame, where the empty stem ends, and of the
    end of every other stem after it.

    Args:
        frames: Each query's embeddings (num_frames, H); the numbers may differ.
    """
    device = frames[0].device
    stem_embeddings = language_model.embed(tree.tokens.to(device)[None])[0]
    pieces = [piece for clip in frames for piece in (clip.to(stem_embeddings.dtype), stem_embeddings)]
    embeddings = torch.cat(pieces)[None]
    lengths = torch.tensor([len(clip) for clip in frames])
    query, stem, position = (one.to(device) for one in _layout(lengths, tree))
    mask = _mask(query, stem, tree, embeddings.dtype)
    enrolled = mask.new_zeros(len(query), enrollment.length)
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.cat([enrolled, mask], dim=1)[None, None],
        position_ids=(enrollment.length + position)[None],
        cache=enrollment.view(),
    )
    num_stems = len(tree.stems)
    ends = (lengths + num_stems - 1).cumsum(dim=0) - num_stems
    return hidden[0, (ends[:, None] + torch.arange(num_stems)).to(device)]


def can_pack(language_model: LanguageModel) -> bool:
    """Whether a language model takes queries in one sequence: its layers must keep and attend to every
    position, by the mask and the positions that they are given. Tried once on a few tokens, because
    architectures that count positions themselves, or take no such mask, do not say so."""
    if not _keeps_everything(language_model):  # asked each time: the attention function can be exchanged
        return False
    if language_model not in _known:
        _known[language_model] = _packs(language_model)
    return _known[language_model]


def _layout(lengths: Tensor, tree: LabelTrie) -> tuple[Tensor, Tensor, Tensor]:
    """Query, stem and position after the enrollment of each place in the sequence; a frame's stem is the
    empty one (0)."""
    stems = torch.arange(1, len(tree.stems))
    query = torch.arange(len(lengths)).repeat_interleave(lengths + len(stems))
    stem = torch.cat([torch.cat([stems.new_zeros(length), stems]) for length in lengths.tolist()])
    depths = tree.depths[1:]
    places = [torch.cat([torch.arange(length), length - 1 + depths]) for length in lengths.tolist()]
    return query, stem, torch.cat(places)


def _mask(query: Tensor, stem: Tensor, tree: LabelTrie, dtype: torch.dtype) -> Tensor:
    """What is added to the attention of places (rows) to places (columns): 0 or the lowest number."""
    same = query[:, None] == query
    seen = torch.ones_like(same).tril() & same & tree.within.to(stem.device)[stem[:, None], stem]
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)


def _keeps_everything(language_model: LanguageModel) -> bool:
    layers = language_model.new_cache().layers
    plain = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    return plain and language_model.causal.config._attn_implementation in _MASKABLE


@torch.inference_mode()
def _packs(language_model: LanguageModel) -> bool:
    device = language_model.causal.device
    vocabulary = language_model.causal.get_input_embeddings().num_embeddings
    embedded = language_model.embed(torch.arange(8, device=device)[None] % vocabulary)
    cache, ones = language_model.new_cache(), torch.ones(1, 3, dtype=torch.int64, device=device)
    language_model.hidden(embedded[:, :3], ones, positions(ones), cache)
    enrollment = Enrollment(cache, 3)
    frames, tree = [embedded[0, 3:5], embedded[0, 5:8]], LabelTrie([(0, 1), (2 % vocabulary, 0)])
    alone = hidden_by_rows(language_model, enrollment, frames, tree)
    try:
        packed = hidden_packed(language_model, enrollment, frames, tree)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    tolerance = _TOLERANCE if alone.dtype == torch.float32 else _COARSE_TOLERANCE
    return bool((packed - alone).float().norm() <= tolerance * alone.float().norm())
