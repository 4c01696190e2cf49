"""The method `probabilities`: what another tool said of a corpus's utterances, read from a table.

So that any tool stands in the comparison, and can be personalized: `probabilities+prior-shift` and
`probabilities+bias-scale` recalibrate it to each person, with strengths chosen on validation persons. No
model is loaded. The table is the only one in MODELS/probabilities, or in MODELS/probabilities-NAME for
`probabilities:NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.probability_table import ProbabilityTable
from perser.io.tables import SUFFIXES
from perser.personalizer import Personalizer, RouteContext, ablation_folder, refuse_pairs
from perser.route import Route

FOLDER = "probabilities"


class GivenProbabilities(Personalizer):
    """Answers with the rows of a table, the same for every person."""

    route: ClassVar[str] = "probabilities"

    def __init__(self, table: ProbabilityTable) -> None:
        self._table = table

    def personalize(self, support: Support) -> GivenProbabilities:
        return self

    def predict_support(self, support: Support) -> np.ndarray:
        """Return the probabilities of a support's utterances; nothing is learned from it."""
        return self.predict_proba(support.utterances)

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities: float32 (num_utterances, num_emotions), rows sum to 1."""
        return self._table.rows_of(utterances).astype(np.float32)

    def describe(self) -> dict[str, object]:
        return {"probabilities": self._table.file.name}


def probabilities(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Probabilities: what another tool said of each utterance, from a table; no model is loaded."""
    refuse_pairs(FOLDER, pairs)
    return GivenProbabilities(_table(context))


def check(method: str, context: RouteContext, pairs: int | None) -> None:
    """Raise UserError for a table that cannot be read, has other emotions, or lacks an utterance that is
    measured or learned from."""
    table = _table(context)
    if context.utterances is not None:
        table.rows_of(context.utterances())


def _table(context: RouteContext) -> ProbabilityTable:
    """Return the table, with the emotions of the corpus in their order."""
    table = ProbabilityTable.read(_table_in(context.folder(FOLDER)), context.emotions.names)
    return table.in_order(context.emotions)


def check_models(method: str, models: Path, ablation: str | None) -> None:
    """Raise UserError where there is no table, or more than one."""
    _table_in(models / ablation_folder(FOLDER, ablation))


def _table_in(folder: Path) -> Path:
    """Return the only table in a folder. Raises UserError for none, or several."""
    tables = [file for file in sorted(folder.glob("*")) if file.suffix.lower() in (*SUFFIXES, ".parquet")]
    if len(tables) != 1:
        there = ", ".join(table.name for table in tables) or "none"
        raise UserError(
            f"{folder} needs one table of probabilities (there is {there}): put a CSV, JSON or Parquet file "
            "there, with the column utterance_id and a column for each emotion"
        )
    return tables[0]


ROUTE = Route(
    "probabilities",
    methods={"probabilities": "benchmarks.given_probabilities:probabilities"},
    check_models=check_models,
    check_method="benchmarks.given_probabilities:check",
    numbered=(),
)
