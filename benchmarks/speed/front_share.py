"""How much of a forward pass the front-end is: in the preset's encoder, and in wav2vec2-base."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.speed.case import make_network
from benchmarks.speed.measure import seconds
from benchmarks.speed.operations import operations
from benchmarks.speed.speech import MEAN_SECONDS, RATE


@torch.no_grad()
def front_shares(shapes: dict[str, Any], device: torch.device) -> tuple[float, float]:
    """Share of operations and share of seconds (the less disturbed of two passes), of one clip of mean
    length, unpadded."""
    network = make_network(shapes).eval().to(device)
    clip = torch.zeros(1, int(MEAN_SECONDS * RATE), device=device)
    parts = (lambda: network.feature_extractor(clip), lambda: network(clip))
    front, whole = (operations(part) for part in parts)
    front_time, whole_time = (min(seconds(part, device) for _ in range(2)) for part in parts)
    return front / whole, front_time / whole_time
