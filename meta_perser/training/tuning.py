"""Choose the settings of the baselines: all by the same criterion on the same validation episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meta_perser.adaptation.adaptation_loss import WeightedLoss
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.personalizer import GradientPersonalizer, Unadapted
from meta_perser.recognizer.batches import Adjust, ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.adjustments.recalibration import choose_priors
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode
from perser.progress import progress_bar
from perser.selection.grid import Grid, search
from perser.selection.validation import all_scores, goodness
from perser.training.options import Criterion

RATES = (3e-6, 1e-5, 3e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

FINE_TUNE_RATES = Grid(RATES, start=(4, 6))
"""From 0.0003 to 0.003, and further in either direction while that is better."""

FRESH_RATES = Grid(RATES, start=(7, 9))
"""For what is trained from scratch, a new head or adapters: from 0.01 to 0.1, and further."""


@dataclass(frozen=True)
class Tuner:
    """Tries a baseline on the validation episodes with the values of a grid (`search`).

    Args:
        corpus: of the episodes.
        cache: folder of the feature cache.
        loss: of the inner loop.
        steps: gradient steps on a support.
        episodes: of the validation persons; all baselines are tried on the same ones.
        criterion: by which the best value is chosen.
        adjust: as of `ClipSource`.
    """

    corpus: Corpus
    cache: Path
    loss: WeightedLoss
    steps: int
    episodes: Sequence[Episode]
    criterion: Criterion
    adjust: Adjust | None = None

    def fine_tuning(
        self,
        model: EmotionRecognizer,
        scope: str,
        rates: Grid = FINE_TUNE_RATES,
        kind: type[GradientPersonalizer] = GradientPersonalizer,
    ) -> dict[str, Any]:
        """Return the scope, the constant rate with which it adapts best, and what was tried.

        The model's own scope is left as it was.
        """
        trained = model.scope
        model.set_scope(scope)
        source = ClipSource(self.corpus.recordings, model, self.cache, self.adjust)
        names = list(model.trainable_parameters())
        episodes = _one_of_each_first(self.episodes)
        with progress_bar(
            len(rates.values) * len(episodes), f"choosing a rate ({scope})", unit="episode"
        ) as bar:

            def scores(rate: float, start: int, stop: int) -> list[float]:
                personalizer = kind(model, source, ConstantRate(names, rate), self.loss, self.steps)
                found = all_scores(
                    personalizer, episodes[start:stop], model.emotions, not personalizer.adapts_together
                )
                bar.update(stop - start)
                return [goodness(metrics, self.criterion) for metrics in found]

            found = search(rates, scores, len(episodes))
            bar.total = bar.n
        model.set_scope(trained)
        return {"scope": scope, "rate": found.value, "tried": asdict(found)}

    def recalibration(self, model: EmotionRecognizer) -> dict[str, object]:
        """Return what Prior-Shift and Bias-Scale need, as it is saved with a model."""
        trained = model.scope
        model.set_scope("head")
        zero = Unadapted(model, ClipSource(self.corpus.recordings, model, self.cache, self.adjust))
        chosen = {
            kind: choose_priors(zero, self.episodes, model.emotions, with_scale, self.criterion)
            for kind, with_scale in (("prior-shift", False), ("bias-scale", True))
        }
        model.set_scope(trained)
        tried = {
            kind: {name: asdict(one) for name, one in found.items()} for kind, (_, found) in chosen.items()
        }
        return {"prior_strength": chosen["prior-shift"][0].bias, "recalibration": tried}


def _one_of_each_first(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the episodes with the first one of each person first, then the second ones, and so on.

    So whoever is tried on a few of them only is tried on different persons.
    """
    met: dict[str, int] = {}
    numbers = []
    for episode in episodes:
        met[episode.person] = met.get(episode.person, 0) + 1
        numbers.append(met[episode.person])
    return [episodes[place] for place in sorted(range(len(episodes)), key=numbers.__getitem__)]
