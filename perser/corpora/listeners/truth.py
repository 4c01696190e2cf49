"""The truth about simulated listeners, in the prepared corpus: `truth.json`.

Only oracles read it, the methods that show how much there is to know (`benchmarks/oracles.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perser.corpora.listeners.listener import Listener
from perser.errors import explain_damage
from perser.io.json_files import write_json

TRUTH = "truth.json"


@dataclass(frozen=True)
class ListenerTruth:
    """What simulated listeners are like, and how often people hear each emotion in each utterance.

    Args:
        kind: `realistic` or `strong`.
        listeners: by name.
        shares: by utterance id: float64 (C,), sums to 1.
    """

    kind: str
    listeners: Mapping[str, Listener]
    shares: Mapping[str, np.ndarray]

    def shares_of(self, utterances: Sequence[str]) -> np.ndarray:
        """Return the shares of these utterances: (num_utterances, C)."""
        return np.stack([self.shares[utterance] for utterance in utterances])

    def save(self, folder: Path) -> None:
        """Write the file into the folder of a prepared corpus."""
        content = {
            "kind": self.kind,
            "listeners": [asdict(listener) for listener in self.listeners.values()],
            "shares": {name: row.tolist() for name, row in self.shares.items()},
        }
        write_json(folder / TRUTH, content)


def load_truth(folder: Path, emotions: int) -> ListenerTruth | None:
    """Return the truth in the folder of a prepared corpus with so many emotions; None if it holds none.

    Corpora of real listeners hold none, nor do those of version 0.1.0. Raises UserError for a damaged file.
    """
    path = folder / TRUTH
    if not path.is_file():
        return None
    with explain_damage(str(path), "run `perser prepare` again"):
        content = json.loads(path.read_text(encoding="utf-8"))
        listeners = [_listener(row, emotions) for row in content["listeners"]]
        shares = {str(name): _distribution(row, emotions) for name, row in content["shares"].items()}
        return ListenerTruth(
            str(content["kind"]), {listener.name: listener for listener in listeners}, shares
        )


def _listener(row: Mapping[str, Any], emotions: int) -> Listener:
    numbers = {name: float(row[name]) for name in ("sharpness", "breadth", "lapse")}
    bias = np.array(row["bias"], dtype=np.float64)
    if bias.shape != (emotions,) or not np.isfinite([*numbers.values(), *bias]).all():
        raise ValueError(f"listener {row['name']} has other emotions, or values that are not finite")
    if not (numbers["breadth"] >= 0 and 0 <= numbers["lapse"] <= 1):
        raise ValueError(f"listener {row['name']} has a breadth or lapse out of range")
    confusion = row["confusion"]
    if confusion is not None:
        confusion = tuple(tuple(_distribution(line, emotions).tolist()) for line in confusion)
        if len(confusion) != emotions:
            raise ValueError(f"listener {row['name']} has a confusion of other emotions")
    return Listener(str(row["name"]), tuple(bias.tolist()), confusion=confusion, **numbers)


def _distribution(row: Sequence[float], emotions: int) -> np.ndarray:
    values = np.array(row, dtype=np.float64)
    # A sum or a comparison with NaN is false, so that NaN is refused, too.
    if values.shape != (emotions,) or not (values.min() >= 0 and abs(values.sum() - 1) < 1e-4):
        raise ValueError("a row is no distribution over the emotions")
    return values
