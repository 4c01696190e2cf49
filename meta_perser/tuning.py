"""Choices that the baselines are owed: made on validation episodes, by macro-F1, as a user would."""

from __future__ import annotations

from collections.abc import Sequence

from meta_perser.clips import ClipSource
from meta_perser.gradient import GradientPersonalizer
from meta_perser.inner_loop import LossFunction
from meta_perser.lslr import ConstantRate
from meta_perser.model import EmotionRecognizer
from meta_perser.prior_shift import PriorShift
from perser.episodes import Episode
from perser.personalizer import mean_score
from perser.training import progress

FINE_TUNE_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
PRIOR_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


def choose_fine_tune_rate(
    model: EmotionRecognizer,
    source: ClipSource,
    loss: LossFunction,
    steps: int,
    episodes: Sequence[Episode],
) -> float:
    """The constant rate with which fine-tuning on the support does best after `steps` steps."""
    names = list(model.moving_parameters())
    with progress(len(FINE_TUNE_RATES), f"choosing a rate ({model.scope})") as bar:

        def score(rate: float) -> float:
            tuned = GradientPersonalizer(model, source, ConstantRate(names, rate), loss, steps)
            found = mean_score(tuned, episodes, model.emotions)
            bar.update()
            return found

        return max(FINE_TUNE_RATES, key=score)


def choose_prior_strength(model: EmotionRecognizer, source: ClipSource, episodes: Sequence[Episode]) -> float:
    """The strength with which Prior-Shift does best."""
    return max(
        PRIOR_STRENGTHS,
        key=lambda strength: mean_score(PriorShift(model, source, strength), episodes, model.emotions),
    )
