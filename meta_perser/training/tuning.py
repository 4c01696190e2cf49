"""Choices that the baselines are owed: made on validation episodes, by macro-F1, as a user would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meta_perser.adaptation.loss import LossFunction
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.personalizer import GradientPersonalizer
from meta_perser.adaptation.prior_shift import PriorShift
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.corpora.corpus import Corpus
from perser.distributed import progress
from perser.episodes.episode import Episode
from perser.personalizer import mean_score

FINE_TUNE_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)

FRESH_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""For what starts from nothing: a new head, adapters."""

PRIOR_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Tuner:
    """Tries a baseline on the validation episodes with each value that it may have."""

    corpus: Corpus
    cache: Path
    loss: LossFunction
    steps: int
    """Gradient steps on a support."""
    episodes: Sequence[Episode]
    """Of the validation persons. Where the trunk moves, which takes seconds an episode, the first of each
    person's is tried; else all."""

    def fine_tuning(
        self,
        model: EmotionRecognizer,
        scope: str,
        rates: Sequence[float] = FINE_TUNE_RATES,
        kind: type[GradientPersonalizer] = GradientPersonalizer,
    ) -> dict[str, object]:
        """The scope, and the constant rate with which moving it on the support does best. The model's own
        scope is left as it was."""
        trained = model.scope
        model.set_scope(scope)
        source = ClipSource(self.corpus.recordings, model, self.cache)
        names = list(model.moving_parameters())
        episodes = self.episodes
        if model.lowest_layer != model.encoder.num_layers:
            episodes = list({one.person: one for one in reversed(episodes)}.values())
        with progress(len(rates), f"choosing a rate ({scope})") as bar:

            def score(rate: float) -> float:
                tuned = kind(model, source, ConstantRate(names, rate), self.loss, self.steps)
                found = mean_score(tuned, episodes, model.emotions)
                bar.update()
                return found

            best = max(rates, key=score)
        model.set_scope(trained)
        return {"scope": scope, "rate": best}

    def prior_strength(self, model: EmotionRecognizer) -> float:
        """The strength with which Prior-Shift does best."""
        trained = model.scope
        model.set_scope("head")
        source = ClipSource(self.corpus.recordings, model, self.cache)
        best = max(
            PRIOR_STRENGTHS,
            key=lambda strength: mean_score(
                PriorShift(model, source, strength), self.episodes, model.emotions
            ),
        )
        model.set_scope(trained)
        return best
