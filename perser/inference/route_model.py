"""What a route gives the recognizer: a trained model that hears waveforms, and how a folder's is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.clips import Waveforms
from perser.labels import Emotions, EmotionSet

EncodedClips = Any
"""Clips as a route's model reads them: what its `hear` gives is passed back to it."""


class RoutePredictor(Protocol):
    """A route's model, unadapted or one person's."""

    def predict_proba(self, heard: EncodedClips, names: Sequence[str]) -> np.ndarray:
        """Probabilities of these clips: float32 (num_clips, num_emotions), rows sum to 1. Raises UserError
        for a clip that is too long for the model."""
        ...


class RouteModel(Protocol):
    """A trained model of one route. All that makes it one person's are the tensors that `enroll` gives and the
    labels that it was given: they are what a profile keeps."""

    @property
    def route(self) -> str: ...
    @property
    def emotions(self) -> EmotionSet: ...

    def fingerprint(self) -> str:
        """sha256 over every weight and setting that its answers depend on."""
        ...

    def to(self, device: str) -> None:
        """Compute there from now on. Tensors that it is given may lie on the CPU all the same."""
        ...

    def encode_clips(self, clips: Waveforms) -> EncodedClips:
        """Encode clips, once for all that is asked of them."""
        ...

    def embed_clips(self, heard: EncodedClips, names: Sequence[str]) -> np.ndarray:
        """What the unadapted model makes of these clips before it answers: float32 (num_clips, D)."""
        ...

    def enroll(self, heard: EncodedClips, support: Support) -> dict[str, Tensor]:
        """Learn one person's pairs, whose utterances are names of clips that it has heard."""
        ...

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> RoutePredictor:
        """The person's predictor; without tensors and labels the unadapted one. Raises UserError where they
        are none of this model's."""
        ...


Loader = Callable[[Path], RouteModel | None]
"""Loads the model in a folder; None where the folder is not of the route (found out without loading).

One has the attributes `facts`, a function of the folder that gives `perser.io.model_facts.ModelFacts` or
None, and `export`, a `perser.export.contract.Exporter`."""


def load_route_model(folder: Path) -> RouteModel:
    """The trained model in a folder, whichever installed route (entry-point group `perser.recognizers`) it is
    of. Raises UserError, which names models nearby, where there is none."""
    if not folder.is_dir():
        raise UserError(f"no model in {folder}: there is no such folder")
    for entry in sorted(entry_points(group="perser.recognizers"), key=lambda one: one.name):
        loader: Loader = entry.load()
        if (model := loader(folder)) is not None:
            return model
    inside = [one for one in (*folder.glob("*"), *folder.glob("models/*")) if _looks_like_a_model(one)]
    hint = (
        f"there are {', '.join(map(str, sorted(inside)))}" if inside else "train one, or `perser quickstart`"
    )
    raise UserError(f"{folder} holds no model of an installed route: {hint}")


def _looks_like_a_model(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.json")) and any(folder.glob("*.safetensors"))
