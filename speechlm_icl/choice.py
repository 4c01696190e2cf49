"""Which pairs of an enrolment to read where it has more than the prompt is to hold.

    f(S) = sum over emotions y and pairs i with y of max over the chosen pairs j with y of similarity(i, j)

The facility location of a nearest-neighbour classifier (Wei, Iyer and Bilmes 2015, Submodularity in Data
Subset Selection and Active Learning, ICML), maximised greedily, which reaches 1 - 1/e of the best (Nemhauser
et al. 1978): every emotion of the enrolment gets examples, and each stands for many of the others that are
called the same. It looks at the enrolment alone, so one choice serves all queries, and its cache with it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechlm_icl.projector import Clips


def similarities(features: Clips) -> np.ndarray:
    """Cosines of n clips' features (their means over time), shifted and halved into [0, 1]: (n, n). Each
    feature is standardised over the enrolment, so that neither its scale nor what all clips share (the voice,
    the room) counts."""
    means = features if isinstance(features, Tensor) else torch.stack([clip.mean(dim=0) for clip in features])
    flat = means.flatten(1).double()
    centred = flat - flat.mean(dim=0)
    unit = F.normalize(centred / centred.square().mean(dim=0).sqrt().clamp_min(1e-5), dim=1)
    return ((1 + unit @ unit.T) / 2).numpy()


def most_representative(similar: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) of the chosen pairs, ascending, so that they keep the enrolment's order.

    Args:
        similar: Similarity of each two clips (n, n), at least 0.
        labels: What was said of each clip, multi-hot (n, C).
        count: How many pairs; at most n.
    """
    alike = similar[:, :, None] * (labels[:, None] * labels[None, :])  # (n, n, C): i stood for by j, under y
    covered = np.zeros_like(alike[:, 0])
    chosen: list[int] = []
    for _ in range(count):
        gain = np.maximum(alike - covered[:, None], 0).sum(axis=(0, 2))
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, alike[:, chosen[-1]])
    return np.sort(np.array(chosen, dtype=np.int64))
