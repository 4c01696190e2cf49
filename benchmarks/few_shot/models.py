"""The trained models in a folder, ready to learn labels, and the frozen features of all clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.few_shot.classifiers import Features
from meta_perser.inference import GradientModel
from meta_perser.recognizer.batches import ClipSource, standardize
from perser.adjustments.standardization import StandardizedByEnrolled
from perser.corpora.content import Content
from perser.corpora.corpus import Corpus
from perser.corpora.listing import PersonAxis
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.episodes.trained_on import contents_of_training
from perser.errors import UserError
from perser.installed_routes import find_models, read_facts
from perser.io.hub import trained_model_folder
from perser.io.model_facts import ModelFacts
from perser.personalizer import Personalizer
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.personalizer import SpeechLMPersonalizer

Standardization = Literal["corpus", "model", "enrolled"]
"""By which clips features are standardized: all of the new corpus, those that the model was trained on, or
each person's enrolled ones (those of ordinary classifiers are then standardized as the model was trained)."""

ROUTES = ("speech-lm", "meta-perser")

Found = dict[str, tuple[Path, ModelFacts]]
"""The folder of a model and what its files say, by route."""


@dataclass(frozen=True)
class Models:
    """What is measured.

    Args:
        personalizers: The models by route; a route whose model there is none of is left out.
        features: The frozen features that ordinary classifiers get.
        encoder: Name of the encoder that gives them.
    """

    personalizers: dict[str, Personalizer]
    features: Features
    encoder: str


def find(name: str) -> Found:
    """Return the models that a name stands for: one model, or those in a folder such as an experiment's.

    Of several models of one route, it is the one whose folder has the route's name. Raises UserError where
    there is none.
    """
    folder = trained_model_folder(name)
    own = read_facts(folder)
    inside = list(find_models(folder)) if own is None else [(folder, own)]
    found: Found = {}
    for path, facts in sorted(inside, key=lambda each: (each[0].name != each[1].route, str(each[0]))):
        if facts.route in ROUTES:
            found.setdefault(facts.route, (path, facts))
    if not found:
        raise UserError(f"model: {name} holds no speech LM and no Meta-PerSER model: name another folder")
    return found


def met(found: Found, corpus: Corpus, axis: PersonAxis) -> tuple[set[str], set[str]] | None:
    """Return the utterances and the persons of a corpus that any of the models has met in training; None
    where that cannot be known."""
    whole, utterances, persons = Content.of_all(corpus), set(), set()
    for folder, facts in found.values():
        trainings = contents_of_training(folder, facts.trained_on)
        if trainings is None:
            return None
        for training in trainings:
            utterances |= set(whole.shared(training, "recordings"))
            persons |= set(whole.shared(training, f"{axis}s"))
    return utterances, persons


def load(found: Found, corpus: Corpus, cache: Path, standardization: Standardization, device: str) -> Models:
    """Load the models, and encode all clips of the corpus."""
    names = list(corpus.recordings.utterance_ids)
    personalizers: dict[str, Personalizer] = {}
    encoder: SpeechEncoder | None = None
    scale = None
    if "speech-lm" in found:
        model = SpeechLMForICL.from_pretrained(found["speech-lm"][0])
        if device != "cpu":  # quantized weights cannot be moved, not even to where they are
            model.to(device)
        encoder, projector = model.speech_encoder, model.projector
        store = cached_features(corpus.recordings, encoder, projector.options.level, cache)
        if standardization == "corpus":
            projector.fit_standardization(store[name] for name in names)
        scale = (projector.mean.cpu(), projector.std.cpu())
        personalizers["speech-lm"] = SpeechLMPersonalizer(model, store)
    if "meta-perser" in found:
        gradient = GradientModel.from_pretrained(found["meta-perser"][0])
        gradient.to(device)
        if standardization == "corpus":
            standardize(gradient.model, names, corpus.recordings, cache)
        source = ClipSource(corpus.recordings, gradient.model, cache)
        personalizers["meta-perser"] = gradient.personalizer(source)
        if encoder is None:
            encoder = gradient.model.encoder
            scale = (gradient.model.state_mean.cpu(), gradient.model.state_scale.cpu())
    if standardization == "enrolled":
        personalizers = {route: StandardizedByEnrolled(own) for route, own in personalizers.items()}
    assert encoder is not None  # a model was found
    pooled = cached_features(corpus.recordings, encoder, "pooled", cache)
    features = _standardized(pooled, names, None if standardization == "corpus" else scale)
    return Models(personalizers, features, encoder.name)


def _standardized(
    store: FeatureStore, names: Sequence[str], scale: tuple[torch.Tensor, torch.Tensor] | None
) -> Features:
    """Return all layers' features of each clip in a row, standardized by `scale` or by these clips."""
    states = store.stack(names)
    mean, spread = (states.mean(dim=0), states.std(dim=0)) if scale is None else scale
    rows = ((states - mean) / spread.clamp_min(1e-5)).flatten(1).numpy()
    return Features(np.ascontiguousarray(rows, dtype=np.float64), names)
