"""A route without a neural network: the emotion of a clip is its mean, and a person adds a bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from perser.episodes.episode import Support
from perser.errors import UserError
from perser.inference.clips import Waveforms
from perser.labels import Emotions, EmotionSet

LONGEST = 1.0  # seconds


class FakeModel:
    """Predicts the softmax of a person's bias minus the distance of a clip's mean to each class's place."""

    route = "fake"
    emotions = EmotionSet(("angry", "happy", "sad"))

    def __init__(self, content: str = "0123") -> None:
        self.content = content
        self.encoded: list[int] = []
        """How many clips each call of `encode_clips` has encoded."""
        self.device: str | None = None

    def to(self, device: str) -> None:
        self.device = device

    def fingerprint(self) -> str:
        return self.content

    def encode_clips(self, clips: Waveforms) -> dict[str, float]:
        self.encoded.append(len(clips.utterance_ids))
        if long := [name for name in clips.utterance_ids if clips.duration(name) > LONGEST]:
            raise UserError(f"'{long[0]}' is too long")
        return {name: float(clips.waveform(name).mean()) for name in clips.utterance_ids}

    def embed_clips(self, encoded: dict[str, float], names: Sequence[str]) -> np.ndarray:
        return np.array([[encoded[name]] for name in names], dtype=np.float32)

    def enroll(self, encoded: dict[str, float], support: Support) -> dict[str, Tensor]:
        return {"bias": torch.as_tensor(self.emotions.distribution(support.emotions).mean(axis=0))}

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> FakePredictor:
        size = len(self.emotions)
        if tensors and tensors["bias"].shape != (size,):
            raise UserError("its bias does not fit")
        return FakePredictor(tensors["bias"].numpy() if tensors else np.zeros(size))

    def with_labels(self, labels: EmotionSet) -> FakeModel:
        opened = FakeModel(self.content)
        opened.emotions = labels
        return opened


class FakePredictor:
    def __init__(self, bias: np.ndarray) -> None:
        self.bias = bias

    def predict_proba(self, encoded: dict[str, float], names: Sequence[str]) -> np.ndarray:
        means = np.array([[encoded[name]] for name in names])
        scores = np.exp(-8 * np.abs(means - np.arange(len(self.bias)) / 4) + 4 * self.bias)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def fake_model(monkeypatch, tmp_path) -> FakeModel:
    """The model that is loaded from the folder `model`, and from any other folder."""
    model = FakeModel()
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("perser.inference.recognizer.load_route_model", lambda folder: model)
    return model


@pytest.fixture(scope="module")
def fake_models() -> dict[str, FakeModel]:
    """Two models with the same answers and different fingerprints."""
    return {"first": FakeModel("first"), "second": FakeModel("second")}


@pytest.fixture
def write_clip(tmp_path) -> Callable[[str, int, float], Path]:
    """Return a function that writes a recording of a class."""

    def write(name: str, emotion: int, seconds: float = 0.2) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ripple = 0.01 * np.sin(np.arange(int(16_000 * seconds)))
        soundfile.write(path, emotion / 4 + ripple, 16_000, subtype="FLOAT")
        return path

    return write
