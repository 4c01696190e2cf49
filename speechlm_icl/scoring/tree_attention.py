"""Read queries and labels after an enrollment: packed into one sequence with a tree mask, or as a batch.

`packed_hidden_states` puts all queries into one sequence after the enrollment, whose keys and values are
shared and never repeated:

    enrollment | frames of query 0, nodes of the label trie | frames of query 1, nodes of the label trie | ...

A mask lets each position attend to the enrollment, to its own query's frames and to the ancestors of its trie
node (tree attention, Miao et al. 2024, SpecInfer, arXiv 2305.09781). So each query and label has the hidden
states that it would have alone.

`batched_hidden_states` is the fallback for language models that cannot do that, such as those with
sliding-window attention. Each query and path of the trie is a row, after its own copy of the cache.

`can_pack` tells which of the two a language model takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicLayer

from perser.device import to_device, uses_tf32
from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.prompt import positions
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import PrefixCache

_MASKABLE = ("eager", "sdpa")
"""The attention functions that accept any mask."""

_TOLERANCE, _COARSE_TOLERANCE = 1e-3, 0.05
"""Largest difference of hidden states that rounding may cause, relative to their norm: in float32, and in
TF32 or number formats of lower precision."""

_can_pack: WeakKeyDictionary[LanguageModel, bool] = WeakKeyDictionary()
"""Results of `_packing_agrees`, by language model."""


def packed_hidden_states(
    language_model: LanguageModel, prefix: PrefixCache, frames: Sequence[Tensor], trie: LabelTrie
) -> Tensor:
    """Return last hidden states (Q, num_nodes, H) after each query and node, from one packed sequence.

    Those of the root are those of the query's last frame.

    Args:
        language_model: One that `can_pack`.
        prefix: The enrollment.
        frames: Each query's embeddings (num_frames, H); their numbers may differ.
        trie: The label trie.
    """
    device = frames[0].device
    node_embeddings = language_model.embed(trie.tokens.to(device)[None])[0]
    pieces = [piece for clip in frames for piece in (clip.to(node_embeddings.dtype), node_embeddings)]
    embeddings = torch.cat(pieces)[None]
    lengths = torch.tensor([len(clip) for clip in frames])
    query, node, position = (to_device(tensor, device) for tensor in _layout(lengths, trie))
    mask = _tree_mask(query, node, trie, embeddings.dtype)
    mask_of_prefix = mask.new_zeros(len(query), prefix.length)
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.cat([mask_of_prefix, mask], dim=1)[None, None],
        position_ids=(prefix.length + position)[None],
        cache=prefix.view(),
    )
    num_nodes = len(trie.nodes)
    last_frames = (lengths + num_nodes - 1).cumsum(dim=0) - num_nodes
    return hidden[0, (last_frames[:, None] + torch.arange(num_nodes)).to(device)]


def batched_hidden_states(
    language_model: LanguageModel, prefix: PrefixCache, frames: Sequence[Tensor], trie: LabelTrie
) -> Tensor:
    """Return the same as `packed_hidden_states`, from a batch with a row for each query and path."""
    device, paths = frames[0].device, trie.paths()
    tokens = [torch.tensor(path, dtype=torch.int64, device=device) for path in paths]
    path_embeddings = [language_model.embed(ids[None])[0] for ids in tokens]
    rows = [torch.cat([clip.to(path.dtype), path]) for clip in frames for path in path_embeddings]
    embeddings = pad_sequence(rows, batch_first=True)
    count, width, _ = embeddings.shape
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(width, device=device) < lengths[:, None]
    mask_of_prefix = torch.ones((count, prefix.length), dtype=torch.int64, device=device)
    position_ids = torch.arange(prefix.length, prefix.length + width, device=device)
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.cat([mask_of_prefix, mask.to(torch.int64)], dim=1),
        position_ids=position_ids.expand(count, -1),
        cache=prefix.copies(count),
    ).unflatten(0, (len(frames), len(paths)))
    path_of_node = [
        next(number for number, path in enumerate(paths) if path[: len(node)] == node) for node in trie.nodes
    ]
    last_frames = torch.tensor([len(clip) - 1 for clip in frames], device=device)
    columns = last_frames[:, None] + trie.depths.to(device)
    queries = torch.arange(len(frames), device=device)[:, None]
    return hidden[queries, torch.tensor(path_of_node, device=device), columns]


def can_pack(language_model: LanguageModel) -> bool:
    """Return whether a language model can read packed queries.

    Its layers must keep every position, and follow the mask and positions that they are given. Architectures
    that count positions themselves or ignore such a mask do not declare it. So packing is tried once, on a
    few tokens.
    """
    # Checked at every call, because the attention function of a model can be changed.
    if not _keeps_every_position(language_model):
        return False
    if language_model not in _can_pack:
        _can_pack[language_model] = _packing_agrees(language_model)
    return _can_pack[language_model]


def _layout(lengths: Tensor, trie: LabelTrie) -> tuple[Tensor, Tensor, Tensor]:
    """Return the query, trie node and position after the enrollment of each element of the packed sequence.

    The node of a frame is the root (0).
    """
    nodes = torch.arange(1, len(trie.nodes))
    query = torch.arange(len(lengths)).repeat_interleave(lengths + len(nodes))
    node = torch.cat([torch.cat([nodes.new_zeros(length), nodes]) for length in lengths.tolist()])
    depths = trie.depths[1:]
    position = [torch.cat([torch.arange(length), length - 1 + depths]) for length in lengths.tolist()]
    return query, node, torch.cat(position)


def _tree_mask(query: Tensor, node: Tensor, trie: LabelTrie, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores, rows attending to columns: 0 or the lowest number."""
    same_query = query[:, None] == query
    ancestors = trie.ancestors.to(node.device)[node[:, None], node]
    attended = torch.ones_like(same_query).tril() & same_query & ancestors
    # The type is given at once: torch's default one is another while some thread loads a model in bfloat16.
    return torch.zeros(attended.shape, dtype=dtype, device=attended.device).masked_fill_(
        ~attended, torch.finfo(dtype).min
    )


def _keeps_every_position(language_model: LanguageModel) -> bool:
    """Return whether all layers cache every position and the attention function accepts any mask."""
    layers = language_model.new_cache().layers
    plain = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    return plain and language_model.causal.config._attn_implementation in _MASKABLE


@torch.inference_mode()
def _packing_agrees(language_model: LanguageModel) -> bool:
    """Return whether packed and batched hidden states agree, on eight tokens and a small trie."""
    device = language_model.causal.device
    vocabulary = language_model.causal.get_input_embeddings().num_embeddings
    embedded = language_model.embed(torch.arange(8, device=device)[None] % vocabulary)
    cache, mask = language_model.new_cache(), torch.ones(1, 3, dtype=torch.int64, device=device)
    language_model.hidden(embedded[:, :3], mask, positions(mask), cache)
    prefix = PrefixCache(cache, 3)
    frames, trie = [embedded[0, 3:5], embedded[0, 5:8]], LabelTrie([(0, 1), (2 % vocabulary, 0)])
    batched = batched_hidden_states(language_model, prefix, frames, trie)
    try:
        packed = packed_hidden_states(language_model, prefix, frames, trie)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    fine = batched.dtype == torch.float32 and not uses_tf32(device)
    tolerance = _TOLERANCE if fine else _COARSE_TOLERANCE
    return bool((packed - batched).float().norm() <= tolerance * batched.float().norm())
