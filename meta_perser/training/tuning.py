"""Choose the settings of the baselines by their macro-F1 on validation episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meta_perser.adaptation.adaptation_loss import LossFunction
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.personalizer import GradientPersonalizer
from meta_perser.adaptation.prior_shift import PriorShift
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode
from perser.personalizer import mean_score
from perser.progress import progress_bar

FINE_TUNE_RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)

FRESH_RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
"""For what is trained from scratch: a new head, adapters."""

PRIOR_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Tuner:
    """Tries a baseline on the validation episodes with each value that it may have.

    Args:
        corpus: of the episodes.
        cache: folder of the feature cache.
        loss: of the inner loop.
        steps: gradient steps on a support.
        episodes: of the validation persons. All are tried, except where the trunk adapts: that takes seconds
            an episode, so only the first one of each person is tried.
    """

    corpus: Corpus
    cache: Path
    loss: LossFunction
    steps: int
    episodes: Sequence[Episode]

    def fine_tuning(
        self,
        model: EmotionRecognizer,
        scope: str,
        rates: Sequence[float] = FINE_TUNE_RATES,
        kind: type[GradientPersonalizer] = GradientPersonalizer,
    ) -> dict[str, object]:
        """Return the scope, and the constant rate with which it adapts best.

        The model's own scope is left as it was.
        """
        trained = model.scope
        model.set_scope(scope)
        source = ClipSource(self.corpus.recordings, model, self.cache)
        names = list(model.trainable_parameters())
        episodes = self.episodes
        if model.lowest_layer != model.encoder.num_layers:
            episodes = list({episode.person: episode for episode in reversed(episodes)}.values())
        with progress_bar(len(rates), f"choosing a rate ({scope})") as bar:

            def score(rate: float) -> float:
                tuned = kind(model, source, ConstantRate(names, rate), self.loss, self.steps)
                found = mean_score(tuned, episodes, model.emotions)
                bar.update()
                return found

            best = max(rates, key=score)
        model.set_scope(trained)
        return {"scope": scope, "rate": best}

    def prior_strength(self, model: EmotionRecognizer) -> float:
        """Return the strength with which Prior-Shift does best."""
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
