"""How often people hear each emotion in a clip, drawn from the few votes that the clip has.

Ten votes say little: their shares make clips look clearer than they are. So the shares are drawn from their
distribution given the votes. Before the votes, they have a Dirichlet distribution, which depends on what the
actor meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SharesPrior:
    """What is known of a clip before its votes, from what the actor meant. C is the number of emotions.

    Args:
        mean: (C, C), for each emotion that was meant the mean shares; rows sum to 1.
        concentration: (C,), how many votes this counts as.
    """

    mean: np.ndarray
    concentration: np.ndarray

    def draw(self, votes: np.ndarray, meant: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Draw the shares of clips given their votes: float64 (num_clips, C), rows sum to 1.

        `votes` has the same shape and holds counts. `meant` holds the index of the emotion that was meant.
        """
        chosen = list(meant)
        counts = votes + self.concentration[chosen, None] * self.mean[chosen]
        gamma = np.maximum(rng.gamma(counts), 1e-12)
        return gamma / gamma.sum(axis=1, keepdims=True)
