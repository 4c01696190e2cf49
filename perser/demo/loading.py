"""The models of the page, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perser.audio import SAMPLE_RATE
from perser.errors import UserError
from perser.recognizer import Recognizer

WARM_UP_SECONDS = 1


def load_models(folders: Sequence[Path]) -> dict[str, Recognizer]:
    """The trained models in these folders, called as their folders are. Raises UserError where there is none
    or they tell other emotions apart; nobody could label one clip for both."""
    if not folders:
        raise UserError("model: none given, name at least one trained model")
    if len({one.resolve() for one in folders}) < len(folders):
        raise UserError("model: the same folder twice, give another one for the second")
    alone = len({one.name for one in folders}) == len(folders)
    models = {one.name if alone else str(one): Recognizer.from_pretrained(one) for one in folders}
    sets = {name: one.emotions.names for name, one in models.items()}
    if len({frozenset(one) for one in sets.values()}) > 1:
        told = "; ".join(f"{name}: {', '.join(one)}" for name, one in sets.items())
        raise UserError(f"model: these tell different emotions apart ({told}), give models of one set")
    for one in models.values():  # what is only made or imported at a first answer, nobody waits for
        one.predict([np.random.default_rng(0).normal(0, 0.1, WARM_UP_SECONDS * SAMPLE_RATE)])
    return models
