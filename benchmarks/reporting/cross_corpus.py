"""Put what the same models scored on their own corpus and on others side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.reporting.columns import METRICS
from benchmarks.reporting.comparisons import Comparison

SHOWN = ("log_loss", "gain", "maF1")


@dataclass(frozen=True)
class CrossCorpus:
    """Comparisons of models of one training: the first on the corpus that they were trained on."""

    comparisons: list[Comparison]

    @property
    def title(self) -> str:
        first = self.comparisons[0]
        parts = [f"Trained on {first.trained_on}", f"personalized to the {first.person_axis}"]
        parts += [f"{first.mode} enrollment"] * (first.mode != "any") + [first.encoder] * bool(first.encoder)
        return ", ".join([*parts, f"K = {first.k}"])

    @property
    def headings(self) -> list[str]:
        """What each comparison is called above its column."""
        return [
            f"{each.corpus}: {'in-corpus' if each.is_in_corpus else 'cross-corpus'}, {each.scenario}, "
            f"{len(each.emotions)} emotions"
            for each in self.comparisons
        ]

    @property
    def metrics(self) -> list[str]:
        """Those of SHOWN that were measured."""
        present = {name for each in self.comparisons for row in each.rows for name in row["metrics"]}
        return [name for name in SHOWN if name in present and name in METRICS]

    @property
    def methods(self) -> list[str]:
        """Methods as they rank on the first corpus; those that only others have come after them."""
        return list(dict.fromkeys(row["method"] for each in self.comparisons for row in each.rows))

    def metric(self, method: str, metric: str) -> list[Mapping[str, float] | None]:
        """Return a method's metric on each corpus, None where it has none."""
        by_method = [
            {row["method"]: row["metrics"].get(metric) for row in each.rows} for each in self.comparisons
        ]
        return [values.get(method) for values in by_method]

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """The verdict on each corpus, under its name."""
        return [(each.corpus, each.verdict) for each in self.comparisons]


def compare_corpora(comparisons: Sequence[Comparison]) -> list[CrossCorpus]:
    """Return the comparisons that belong side by side: those of the same models on several corpora."""

    def key(comparison: Comparison) -> tuple[str | int, ...]:
        return (
            comparison.person_axis,
            comparison.encoder,
            comparison.trained_on,
            comparison.mode,
            comparison.k,
        )

    known = sorted((each for each in comparisons if each.trained_on), key=key)
    groups = [list(same) for _, same in groupby(known, key=key)]
    return [
        CrossCorpus(sorted(group, key=lambda each: (not each.is_in_corpus, each.corpus, each.scenario)))
        for group in groups
        if len({each.corpus for each in group}) > 1
    ]
