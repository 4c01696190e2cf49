"""Choose the settings of the baselines by their macro-F1 on validation episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from meta_perser.adaptation.adaptation_loss import LossFunction
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.personalizer import GradientPersonalizer
from meta_perser.adaptation.prior_shift import PriorShift
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.training.halving import successive_halving
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode
from perser.personalizer import Personalizer, all_scores, mean_score
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
        episodes: of the validation persons. Where the trunk adapts, which takes seconds an episode, only the
            first one of each person is used, and rates that do badly are not tried on all of them
            (`successive_halving`). Elsewhere every rate is tried on every episode.
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

        def personalizer(rate: float) -> Personalizer:
            return kind(model, source, ConstantRate(names, rate), self.loss, self.steps)

        choose = self._choose_by_all
        if model.lowest_layer != model.encoder.num_layers:
            choose = self._choose_by_halving
        best = choose(rates, personalizer, model, f"choosing a rate ({scope})")
        model.set_scope(trained)
        return {"scope": scope, "rate": best}

    def prior_strength(self, model: EmotionRecognizer) -> float:
        """Return the strength with which Prior-Shift does best."""
        trained = model.scope
        model.set_scope("head")
        source = ClipSource(self.corpus.recordings, model, self.cache)
        best = self._choose_by_all(
            PRIOR_STRENGTHS,
            lambda strength: PriorShift(model, source, strength),
            model,
            "choosing a strength (prior-shift)",
        )
        model.set_scope(trained)
        return best

    def _choose_by_all(
        self,
        values: Sequence[float],
        personalizer: Callable[[float], Personalizer],
        model: EmotionRecognizer,
        title: str,
    ) -> float:
        """Return the value with the best mean over all episodes; of equal ones the first."""
        with progress_bar(len(values), title) as bar:

            def score(value: float) -> float:
                found = mean_score(personalizer(value), self.episodes, model.emotions)
                bar.update()
                return found

            return max(values, key=score)

    def _choose_by_halving(
        self,
        values: Sequence[float],
        personalizer: Callable[[float], Personalizer],
        model: EmotionRecognizer,
        title: str,
    ) -> float:
        """Return the value that `successive_halving` finds on the first episode of each person."""
        first = {episode.person: episode for episode in reversed(self.episodes)}
        episodes = list(first.values())
        with progress_bar(len(values) * len(episodes), title, unit="episode") as bar:

            def scores(value: float, start: int, stop: int) -> list[float]:
                found = all_scores(personalizer(value), episodes[start:stop], model.emotions)
                bar.update(stop - start)
                return [metrics["maF1"] for metrics in found]

            best = successive_halving(values, scores, len(episodes))
            bar.total = bar.n
            return best
