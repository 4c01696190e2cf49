"""Queries as a batch of rows after copies of the enrolment: for language models that cannot take them in one
sequence (`packed_queries`), such as those whose attention slides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechlm_icl.enrolment import Enrolment
from speechlm_icl.label_tree import LabelTree
from speechlm_icl.language_model import LanguageModel


def hidden_by_rows(
    language_model: LanguageModel, enrolment: Enrolment, frames: Sequence[Tensor], tree: LabelTree
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
    enrolled = torch.ones((count, enrolment.length), dtype=torch.int64, device=device)
    hidden = language_model.hidden(
        embeddings,
        attention_mask=torch.cat([enrolled, real.to(torch.int64)], dim=1),
        position_ids=torch.arange(enrolment.length, enrolment.length + width, device=device).expand(
            count, -1
        ),
        cache=enrolment.copies(count),
    ).unflatten(0, (len(frames), len(endings)))
    held = [next(row for row, end in enumerate(endings) if end[: len(stem)] == stem) for stem in tree.stems]
    last_frames = torch.tensor([len(clip) - 1 for clip in frames], device=device)
    places = last_frames[:, None] + tree.depths.to(device)
    queries = torch.arange(len(frames), device=device)[:, None]
    return hidden[queries, torch.tensor(held, device=device), places]
