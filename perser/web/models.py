"""Load the models that the page or the server shows, and make them ready to answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perser.audio import SAMPLE_RATE
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

WARM_UP_SECONDS = 1


def load_models(names: Sequence[str], device: str | None = None) -> dict[str, Recognizer]:
    """Load trained models by their folders or Hub names; return them by the last part of each name.

    Each answers about noise once, so that the first answer does not wait for imports. Raises UserError where
    a model is missing or given twice, or the models know different emotions: a clip must get the same labels
    for all of them.
    """
    if not names:
        raise UserError("model: none given, name at least one trained model")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise UserError("model: the same one twice, name another one the second time")
    short = [Path(name).expanduser().resolve().name for name in names]
    titles = short if len(set(short)) == len(names) else names
    recognizers = [Recognizer.from_pretrained(name, device) for name in names]
    models = dict(zip(titles, recognizers, strict=True))
    emotions = {title: recognizer.emotions.names for title, recognizer in models.items()}
    if len({frozenset(names) for names in emotions.values()}) > 1:
        listed = "; ".join(f"{title}: {', '.join(names)}" for title, names in emotions.items())
        raise UserError(f"model: these know different emotions ({listed}), give models of one set")
    for recognizer in recognizers:
        _warm_up(recognizer)
    return models


def _warm_up(recognizer: Recognizer) -> None:
    """Answer about noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, WARM_UP_SECONDS * SAMPLE_RATE)
    recognizer.predict([noise])
