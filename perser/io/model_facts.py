"""Describe a trained model from the files of its folder, without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perser.labels import Emotions
from perser.starter import place_of_encoder

SPEECH_TYPES = (
    *("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper", "unispeech-sat", "sew", "wav2vec2-bert"),
    "audio-spectrogram-transformer",
)
"""The `model_type` of all families of `perser.encoders.families`, for code that does not import torch."""

Place = Literal["built in", "here", "downloaded", "to be downloaded", "missing"]
"""Where a model is that another model needs: made on the spot, an existing file or folder, in the Hub's local
cache, on the Hub only, or a file or folder that does not exist."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of one trained model.

    Args:
        route: The route that it belongs to.
        emotions: The emotions that it distinguishes.
        needs: The models that it uses but does not contain, as folders, files or Hub names. For a Hub model,
            the value is the commit if it is known.
        trained_on: Digest of the training part that it was trained on; None where unknown.
        is_published: Whether it is a classifier as transformers saved it, for which nothing was chosen yet
            that the methods of a comparison need.
    """

    route: str
    emotions: Emotions
    needs: Mapping[str, str | None]
    trained_on: str | None = None
    is_published: bool = False

    @property
    def places(self) -> dict[str, Place]:
        """Where each of the needed models is."""
        return {name: place_of(name, commit) for name, commit in self.needs.items()}

    @property
    def works_offline(self) -> bool:
        """Whether all needed models are on this machine."""
        return all(place in ("built in", "here", "downloaded") for place in self.places.values())


def is_built_in(name: str) -> bool:
    """Return whether the name is that of a tiny model made on the spot (`tiny-owner/name` is a Hub name)."""
    return name.startswith("tiny-") and "/" not in name


def place_of(name: str, commit: str | None = None) -> Place:
    """Return where a model is, without asking the Hub. `commit` selects a version of a Hub model."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if is_built_in(name):
        return "built in"
    if Path(place_of_encoder(name)).expanduser().exists():
        return "here"
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=commit)
    except HFValidationError:  # a path, which is no valid Hub name
        return "missing"
    return "downloaded" if isinstance(cached, str) else "to be downloaded"


def is_published_classifier(config: Mapping[str, Any] | None) -> bool:
    """Return whether a config.json is that of a speech model, or of any classifier, of transformers."""
    if config is None or "emotions" in config:
        return False
    listed = config.get("architectures")
    names = map(str, listed if isinstance(listed, list) else ())
    classifies = any(name.endswith(("ForSequenceClassification", "ForAudioClassification")) for name in names)
    return classifies or config.get("model_type") in SPEECH_TYPES


def emotions_in(config: dict[str, Any]) -> Emotions:
    """Return the emotions that a model's configuration lists; none if the configuration is damaged."""
    listed = config.get("emotions")
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
