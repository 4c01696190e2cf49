"""A route as a package outside this repository would write it: the mean spectrum of each emotion.

It is trained on the training persons; enrolled clips move the means halfway to their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from perser.corpora.corpus import Corpus
from perser.episodes.episode import Support
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.io.files import atomic_folder
from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts, emotions_in
from perser.labels import Emotions, EmotionSet
from perser.personalizer import Personalizer, RouteContext, refuse_pairs
from perser.route import Exported, Options, Route, TrainedModel, Training

CONFIG, WEIGHTS = "spectra.json", "spectra.safetensors"
BANDS, HERTZ = 16, 50


def spectrum(waveform: Tensor) -> np.ndarray:
    """Return the shares of the power (BANDS,) in bands of 50 Hz."""
    power = torch.fft.rfft(waveform, n=16_000).abs().square()[: BANDS * HERTZ]
    return (power.reshape(BANDS, HERTZ).sum(dim=1) / power.sum()).numpy()


def class_means(spectra: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the mean spectrum (C, BANDS) of each emotion, from spectra (n, BANDS) and label shares (n,
    C)."""
    return (shares.T @ spectra) / shares.sum(axis=0).clip(min=1e-6)[:, None]


class SpectraModel:
    """The mean spectra of a training (`perser.route.RouteModel`)."""

    route = "spectra"

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / CONFIG) or {}
        self.emotions = EmotionSet(emotions_in(config))
        self.trained_on: str = config["trained_on"]
        self.sharpness: float = config["sharpness"]
        self.means = load_file(folder / WEIGHTS)["means"].numpy()

    def fingerprint(self) -> str:
        return f"{self.means.tobytes().hex()} {self.sharpness}"

    def to(self, device: str) -> None:
        pass

    def encode_clips(self, clips) -> dict[str, np.ndarray]:
        return {name: spectrum(clips.waveform(name)) for name in clips.utterance_ids}

    def embed_clips(self, encoded: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        return np.stack([encoded[name] for name in names]).astype(np.float32)

    def enroll(self, encoded: Mapping[str, np.ndarray], support: Support) -> dict[str, Tensor]:
        shares = self.emotions.distribution(support.emotions)
        own = class_means(self.embed_clips(encoded, support.utterances), shares)
        heard = (shares.sum(axis=0) > 0)[:, None]
        return {"means": torch.as_tensor(np.where(heard, (self.means + own) / 2, self.means))}

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> SpectraPredictor:
        return SpectraPredictor(self, tensors["means"].numpy() if tensors else self.means)


class SpectraPredictor:
    """Answers by the distance to each emotion's mean spectrum."""

    def __init__(self, model: SpectraModel, means: np.ndarray) -> None:
        self.model, self.means = model, means

    def predict_proba(self, encoded: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        spectra = self.model.embed_clips(encoded, names)
        distances = np.linalg.norm(spectra[:, None] - self.means, axis=2)
        scores = np.exp(-self.model.sharpness * distances)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


class SpectraPersonalizer(Personalizer):
    """The model as a method of a comparison."""

    route = "spectra"

    def __init__(self, model: SpectraModel, context: RouteContext) -> None:
        self.model = model
        self.encoded = model.encode_clips(context.recordings)

    def personalize(self, support: Support) -> UtterancePredictor:
        tensors = self.model.enroll(self.encoded, support)
        return UtterancePredictor(self.encoded, self.model.predictor(tensors, support.emotions))


class UtterancePredictor:
    def __init__(self, encoded: Mapping[str, np.ndarray], predictor: SpectraPredictor) -> None:
        self.encoded, self.predictor = encoded, predictor

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        return self.predictor.predict_proba(self.encoded, utterances)


def spectra(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Spectra: the emotion whose mean spectrum is nearest."""
    refuse_pairs("spectra", pairs)
    model = SpectraModel(context.folder("spectra"))
    context.check_model(context.folder("spectra"), model.emotions, model.trained_on)
    return SpectraPersonalizer(model, context)


def train_spectra(corpus: Path, episodes: Path, out: Path, sharpness: float = 1.0) -> None:
    """Average the spectra of the training persons' utterances.

    Args:
        corpus: a prepared corpus.
        episodes: an episodes file.
        out: the folder to write.
        sharpness: how fast a probability falls with the distance.
    """
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    pairs = [
        (spectrum(prepared.recordings.waveform(utterance)), prepared.emotions.distribution([emotions])[0])
        for task in drawn.training_tasks(prepared)
        for utterance, emotions in zip(task.utterances, task.emotions, strict=True)
    ]
    means = class_means(*map(np.stack, zip(*pairs, strict=True)))
    facts = {"emotions": prepared.emotions.names, "trained_on": drawn.training_digest, "sharpness": sharpness}
    with atomic_folder(out, marker=CONFIG) as folder:
        (folder / CONFIG).write_text(json.dumps(facts))
        save_file({"means": torch.as_tensor(means)}, folder / WEIGHTS)


def load(folder: Path) -> SpectraModel | None:
    return SpectraModel(folder) if (folder / CONFIG).is_file() else None


def facts(folder: Path) -> ModelFacts | None:
    config = read_json(folder / CONFIG)
    return None if config is None else ModelFacts("spectra", emotions_in(config), {})


def export(folder: Path, out: Path) -> Exported:
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folder / name, out)
    trained_on = SpectraModel(folder).trained_on
    return Exported("Mean spectra of emotions.", "pass", {"spectra": ("spectra",)}, trained_on)


def check(options: Mapping[str, Options], models: Collection[str]) -> None:
    if options["train_spectra"]["sharpness"] <= 0:
        raise UserError("train_spectra.sharpness: give more than 0")


ROUTE = Route(
    "spectra",
    methods={"spectra": spectra},
    load=load,
    facts=facts,
    export=export,
    train=(Training("train_spectra", train_spectra, shared=("corpus", "episodes")),),
    models=(TrainedModel("spectra", "train_spectra"),),
    needs={"spectra": ("spectra",)},
    check=check,
)
