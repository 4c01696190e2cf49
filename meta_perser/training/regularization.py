"""Dropout and masked frames in supervised training, as transformers' own models have them in training mode.

Both are off by default. Meta-training has neither: noise in a few inner steps would be noise in the gradients
of second order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from meta_perser.recognizer.clip_batch import Bucket, ClipBatch
from perser.errors import UserError

MASK_LENGTH = 10
"""Frames in a masked stretch, as in wav2vec 2.0, HuBERT and WavLM."""


@contextmanager
def dropout(model: nn.Module, share: float) -> Iterator[None]:
    """Let the encoder's dropout layers drop this share of what passes them, within the block.

    Raises UserError where the encoder has no such layers.
    """
    if not share:
        yield
        return
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise UserError(f"pretrain.dropout: {share}, but this encoder has no dropout layers: leave it out")
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = share
        layer.train()
    try:
        yield
    finally:
        for layer, p in zip(layers, before, strict=True):
            layer.p = p
            layer.eval()


def masked(batch: ClipBatch, share: float) -> ClipBatch:
    """Return the batch with this share of each clip's frames set to 0, in stretches of `MASK_LENGTH`."""
    if not share:
        return batch
    return replace(batch, buckets=tuple(_masked(bucket, share) for bucket in batch.buckets))


def _masked(bucket: Bucket, share: float) -> Bucket:
    frames = bucket.frames
    count, length = frames.shape[:2]
    stretches = int(share * length / MASK_LENGTH + torch.rand(()).item())
    if not stretches:
        return bucket
    starts = torch.randint(max(length - MASK_LENGTH, 0) + 1, (count, stretches, 1))
    hidden = (starts + torch.arange(MASK_LENGTH)).clamp(max=length - 1).flatten(1)
    kept: Tensor = torch.ones(count, length).scatter(1, hidden, 0.0)
    return replace(bucket, frames=frames * kept.to(frames).unsqueeze(2))
