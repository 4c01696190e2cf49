"""Say how much each speaker's utterances contribute to an episode's metrics, for the pigeonhole bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perser.labels import decide
from perser.metrics import cell_counts, cell_scores, log_losses

DIGITS = 7
"""Decimals of a contribution; a scores file has thousands."""


def speaker_contributions(
    probabilities: np.ndarray, labels: np.ndarray, speakers: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return, by metric and speaker, how fast the metric grows with the weight of the speaker's utterances.

    This is exact for the log loss and for label accuracy, which are means over utterances. For the other
    metrics it is computed by leaving the speaker out. A speaker who said everything contributes nothing.

    Args:
        probabilities: (Q, C).
        labels: 0/1, (Q, C).
        speakers: who said each utterance, (Q,).
    """
    names, of_row = np.unique(np.asarray(speakers), return_inverse=True)
    own = np.eye(len(names))[of_row].T  # (speakers, Q)
    share = own.mean(axis=1)
    losses, decisions = log_losses(probabilities, labels), decide(probabilities)
    total = cell_counts(labels, decisions)
    of_speakers = [cell_counts(labels[rows > 0], decisions[rows > 0]) for rows in own]
    without = [
        all_rows - np.stack(part)
        for all_rows, part in zip(total, zip(*of_speakers, strict=True), strict=True)
    ]
    left_out, overall = cell_scores(*without), cell_scores(*total)
    slopes = {"log_loss": own @ losses / len(losses) - share * losses.mean()}
    slopes |= {name: (overall[name] - left_out[name]) * (1 - share) for name in overall}
    return {
        metric: dict(zip(names.tolist(), np.round(values, DIGITS).tolist(), strict=True))
        for metric, values in slopes.items()
    }
