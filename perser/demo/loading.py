"""The models of the page, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perser.audio import SAMPLE_RATE
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

WARM_UP_SECONDS = 1


def load_models(names: Sequence[str], device: str | None = None) -> dict[str, Recognizer]:
    """The trained models in these folders, or of these names on the Hub, called by the last part of each;
    loaded as `Recognizer.from_pretrained` does. Raises UserError where there is none or they tell other
    emotions apart: nobody could label one clip for both."""
    if not names:
        raise UserError("model: none given, name at least one trained model")
    if len({Path(one).resolve() for one in names}) < len(names):
        raise UserError("model: the same one twice, name another one the second time")
    short = [Path(one).expanduser().resolve().name for one in names]
    called = short if len(set(short)) == len(names) else names
    loaded = [Recognizer.from_pretrained(one, device) for one in names]
    models = dict(zip(called, loaded, strict=True))
    sets = {name: one.emotions.names for name, one in models.items()}
    if len({frozenset(one) for one in sets.values()}) > 1:
        told = "; ".join(f"{name}: {', '.join(one)}" for name, one in sets.items())
        raise UserError(f"model: these tell different emotions apart ({told}), give models of one set")
    for one in loaded:  # what is only made or imported at a first answer, nobody waits for
        one.predict([np.random.default_rng(0).normal(0, 0.1, WARM_UP_SECONDS * SAMPLE_RATE)])
    return models
