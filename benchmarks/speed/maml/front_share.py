"""How much of a forward pass the front-end is: in the preset's encoder, and in wav2vec2-base."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.speed.maml.case import make_network
from benchmarks.speed.timing.measure import by_turns
from benchmarks.speed.timing.operations import operations
from benchmarks.speed.timing.speech import MEAN_SECONDS, RATE

_PASSES = 4


@torch.no_grad()
def front_shares(shapes: dict[str, Any], device: torch.device) -> tuple[float, float]:
    """Share of operations, and of seconds in the least disturbed of some passes, of one clip of mean length,
    unpadded."""
    network = make_network(shapes).eval().to(device)
    clip = torch.zeros(1, int(MEAN_SECONDS * RATE), device=device)
    parts = {"front": lambda: network.feature_extractor(clip), "whole": lambda: network(clip)}
    counts = {name: operations(part) for name, part in parts.items()}
    least = {name: min(taken) for name, taken in by_turns(parts, _PASSES, device).items()}
    return counts["front"] / counts["whole"], least["front"] / least["whole"]
