"""The training loss: class-balanced soft cross-entropy on label distributions (Cui et al. 2019, in the
form EMO-SUPERB gives it and Meta-PerSER uses). Plain torch operations, so that second-order
meta-gradients pass through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F


def class_balanced_weights(
    positive_counts: Sequence[int] | np.ndarray | torch.Tensor, num_samples: int
) -> torch.Tensor:
    """A weight for each emotion by its effective number of samples: (num_emotions,), summing to num_emotions.

    `positive_counts` (num_emotions,) says how many of the `num_samples` training samples carry each
    emotion; w_c = (1 - beta) / (1 - beta^n_c) with beta = (N - 1) / N (Cui et al. 2019, eq. 2).

    An emotion that never occurs would get an infinite weight: it gets that of one occurrence instead,
    the largest that a real count can give. It multiplies nothing in training anyway, but it does share
    in the scaling.

    Raises ValueError for counts outside 0..num_samples.
    """
    counts = torch.as_tensor(positive_counts, dtype=torch.float64)
    if counts.ndim != 1 or num_samples < 1 or (counts < 0).any() or (counts > num_samples).any():
        raise ValueError(f"positive counts must lie in 0..{num_samples}, got {counts.tolist()}")
    # 1 - beta^n by expm1/log1p: the plain form loses all digits where beta is close to 1.
    log_beta = torch.log1p(torch.tensor(-1.0 / num_samples, dtype=torch.float64))
    effective = -torch.expm1(counts.clamp(min=1) * log_beta)
    weights = (1.0 / num_samples) / effective
    return (weights * len(weights) / weights.sum()).to(torch.get_default_dtype())


def class_balanced_cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Soft cross-entropy, each sample weighted by the emotions it carries: a scalar, the mean over samples.

    `logits` and `targets` are (batch, num_emotions), target rows sum to 1; `class_weights` is
    (num_emotions,), or None for no balancing. A sample's weight is sum_c w_c y_c, of the target as given:
    smoothing changes what is predicted, not how much a sample counts. The mean divides by the batch size,
    not by the sum of weights, so a sample's pull does not depend on its neighbors in the batch.
    """
    losses = F.cross_entropy(
        logits, targets.to(logits.dtype), reduction="none", label_smoothing=label_smoothing
    )
    if class_weights is not None:
        losses = losses * (targets.to(logits.dtype) @ class_weights.to(logits))
    return losses.mean()
