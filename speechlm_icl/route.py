"""The route `speech-lm`: personalise by reading the person's enrolment in the prompt, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from perser.episodes import Support
from perser.errors import UserError
from perser.features import FeatureStore, cached_features
from perser.personalizer import Personalizer, RouteContext
from speechlm_icl.checkpoint import TRAINING
from speechlm_icl.clips import read_clips
from speechlm_icl.context import check_fits
from speechlm_icl.model import SpeechLMForICL
from speechlm_icl.scoring import Enrolment, read_enrolment, score_queries

MODEL_FOLDER = "speech-lm"


class SpeechLMPredictor:
    """A speech language model after one person's enrolment."""

    def __init__(self, model: SpeechLMForICL, features: FeatureStore, enrolment: Enrolment) -> None:
        self.model = model
        self.features = features
        self.enrolment = enrolment

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Probabilities over the emotions, float32 (n, C), rows sum to 1."""
        if not utterances:
            return np.zeros((0, len(self.model.prompt.emotions)), dtype=np.float32)
        scores = score_queries(self.model, self.enrolment, read_clips(self.features, utterances))
        return scores.softmax(dim=1).numpy()


class SpeechLMPersonalizer(Personalizer):
    """Personalises by reading the first `pairs` of a support (all of them when None)."""

    route: ClassVar[str] = "speech-lm"

    def __init__(self, model: SpeechLMForICL, features: FeatureStore, pairs: int | None = None) -> None:
        if pairs is not None and pairs < 0:
            raise UserError(f"speech-lm cannot read {pairs} enrolment pairs: give 0 or more")
        self.model = model
        self.features = features
        self.pairs = pairs

    def personalize(self, support: Support) -> SpeechLMPredictor:
        enrolled = support if self.pairs is None else support.first(self.pairs)
        emotions = self.model.prompt.emotions
        answers = [[emotions.index(word) for word in words] for words in enrolled.emotions]
        features = read_clips(self.features, enrolled.utterances) if answers else None
        lengths = [] if features is None else self.model.projector.lengths(features)
        query = max(lengths, default=1)
        check_fits(self.model.prompt, answers, [*lengths, query], self.model.language_model.context)
        return SpeechLMPredictor(self.model, self.features, read_enrolment(self.model, features, answers))

    def describe(self) -> dict[str, object]:
        return {"pairs": "all" if self.pairs is None else self.pairs}


def speech_lm(context: RouteContext, pairs: int | None = None) -> SpeechLMPersonalizer:
    """The personalizer of the model in the folder `speech-lm`."""
    folder = context.folder(MODEL_FOLDER)
    model = SpeechLMForICL.from_pretrained(folder)
    record = folder / TRAINING
    trained_on = json.loads(record.read_text(encoding="utf-8"))["trained_on"] if record.exists() else None
    context.check_model(folder, model.prompt.emotions, trained_on)
    level = model.projector.options.level
    features = cached_features(context.recordings, model.speech_encoder, level, context.cache)
    return SpeechLMPersonalizer(model, features, pairs)
