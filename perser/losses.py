"""The training losses: class-balanced soft cross-entropy on label distributions, and a smooth macro-F1.

The first is after Cui et al. 2019, in the form of EMO-SUPERB and Meta-PerSER. Both use plain torch
operations, so that second-order meta-gradients pass through them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F


def class_balanced_weights(
    positive_counts: Sequence[int] | np.ndarray | torch.Tensor, num_samples: int
) -> torch.Tensor:
    """Return a weight for each emotion by its effective number of samples (Cui et al. 2019, eq. 2).

    w_c = (1 - beta) / (1 - beta^n_c) with beta = (N - 1) / N, scaled so that the weights sum to num_emotions.

    Args:
        positive_counts: n_c, how many of the training samples carry each emotion, (num_emotions,).
        num_samples: N, the number of training samples.

    An emotion that never occurs would get an infinite weight. It gets the weight of an emotion that occurs
    once, the largest possible; it multiplies nothing in training, but it takes part in the scaling.

    Raises ValueError for counts outside 0..num_samples.
    """
    counts = torch.as_tensor(positive_counts, dtype=torch.float64)
    if counts.ndim != 1 or num_samples < 1 or (counts < 0).any() or (counts > num_samples).any():
        raise ValueError(f"positive counts must lie in 0..{num_samples}, got {counts.tolist()}")
    # 1 - beta^n by expm1 and log1p: the plain form loses all digits where beta is close to 1.
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
    """Return the soft cross-entropy, a scalar: the mean over samples, weighted by their emotions.

    Args:
        logits: (batch, num_emotions).
        targets: (batch, num_emotions), rows sum to 1.
        class_weights: (num_emotions,); None for no balancing. The weight of a sample is sum_c w_c y_c.
        label_smoothing: Changes the distribution to be predicted, not the weight of a sample.

    The mean divides by the batch size, not by the sum of weights, so that a sample's influence does not
    depend on the other samples of its batch.
    """
    losses = F.cross_entropy(
        logits, targets.to(logits.dtype), reduction="none", label_smoothing=label_smoothing
    )
    if class_weights is not None:
        losses = losses * (targets.to(logits.dtype) @ class_weights.to(logits))
    return losses.mean()


def smooth_macro_f1_loss(logits: torch.Tensor, targets: torch.Tensor, width: float = 0.25) -> torch.Tensor:
    """Return 1 minus a macro-F1 that has a gradient, a scalar in 0..1.

    An emotion is said where p > 1/C. A sigmoid of log(p C) / width takes the place of that decision, and the
    counts of true and false positives become sums of it (sigmoidF1, Benedict et al. 2022, with the threshold
    of the papers' metric).

    Args:
        logits: (batch, num_emotions), of all queries of an episode: F1 cannot be averaged over batches.
        targets: (batch, num_emotions), label distributions; an emotion with a share was heard.
        width: of the sigmoid, in nats; towards 0 the value becomes 1 - `maF1` of `perser.metrics`, but for
            answers of exactly 1/C, which count half.
    """
    said = torch.sigmoid((logits.log_softmax(dim=-1) + math.log(logits.shape[-1])) / width)
    heard = (targets > 0).to(said.dtype)
    both = (said * heard).sum(dim=0)
    # The counts of an emotion that was heard are at least 1; the F1 of another one is 0 in any case.
    counts = (said.sum(dim=0) + heard.sum(dim=0)).clamp_min(1)
    return 1 - (2 * both / counts).mean()
