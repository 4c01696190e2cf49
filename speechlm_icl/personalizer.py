"""The method `speech-lm`: personalize by reading the person's enrollment in the prompt, without training."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from perser.device import loading_on
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.episodes.episode import Support
from perser.errors import UserError, explain_damage
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl.in_context import PLAIN, InContextPersonalizer
from speechlm_icl.model.configuration import read_config
from speechlm_icl.model.context_length import check_fits, check_query_fits
from speechlm_icl.model.saved_model import TRAINING
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import Clips, read_clips
from speechlm_icl.prompt.demonstrations import (
    DemonstrationOptions,
    parse_demonstration_options,
    reorderings,
)
from speechlm_icl.scoring.matching import Matcher, choose_mixture, flat_features
from speechlm_icl.scoring.opinion_pool import SMALLEST, PooledAnswers, pooled_answers
from speechlm_icl.scoring.prefix_cache import PrefixCache, build_prefix_cache
from speechlm_icl.scoring.scoring import calibrate, score_content_free, score_queries

MODEL_FOLDER = "speech-lm"


class SpeechLMPredictor:
    """A speech language model that has read one person's enrollment, in one order or several.

    Args:
        model: The speech language model.
        features: Features of the clips to answer about.
        enrollments: The prefix cache of each order; probabilities are averaged over them.
        calibrated: Whether each is calibrated with a content-free clip.
        matcher: Matches clips with the enrolled ones by the encoder's features; None: nothing does.
        pool: Pools the answers with those without pairs; None: nothing does.
    """

    def __init__(
        self,
        model: SpeechLMForICL,
        features: FeatureStore,
        enrollments: Sequence[PrefixCache],
        calibrated: bool = False,
        matcher: Matcher | None = None,
        pool: PooledAnswers | None = None,
    ) -> None:
        self.model = model
        self.features = features
        self.enrollments = enrollments
        self.matcher = matcher
        self.pool = pool
        self._free = [
            score_content_free(model, enrollment) if calibrated else None for enrollment in enrollments
        ]

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities of the emotions: float32 (n, C), rows sum to 1."""
        if not utterances:
            return np.zeros((0, len(self.model.prompt.emotions)), dtype=np.float32)
        features = read_clips(self.features, utterances)
        lengths = dict(zip(utterances, self.model.projector.lengths(features), strict=True))
        enrolled, context = self.enrollments[0].length, self.model.language_model.context
        check_query_fits(self.model.prompt, enrolled, lengths, context)
        probabilities = []
        for enrollment, free in zip(self.enrollments, self._free, strict=True):
            scores = score_queries(self.model, enrollment, features)
            scores = scores if free is None else calibrate(scores, free)
            probabilities.append(scores.softmax(dim=1))
        means = torch.stack(probabilities).mean(dim=0).cpu().numpy()
        if self.pool is not None:
            means = self.pool.mix(self.model, features, means)
        return means if self.matcher is None else self.matcher.mix(means, _flat(self.model, features))


class OtherPredictor:
    """Shares out how likely a clip is to have none of the enrolled labels among the labels that are not.

    Args:
        enrolled: Answers with the enrolled labels and, last, `other`.
        plain: Answers with all labels, without pairs.
        places: Where the enrolled labels are among all labels.
    """

    def __init__(self, enrolled: SpeechLMPredictor, plain: SpeechLMPredictor, places: Sequence[int]) -> None:
        self.enrolled = enrolled
        self.plain = plain
        self.places = list(places)

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities of all labels: float32 (n, C), rows sum to 1."""
        answers, probabilities = (
            predictor.predict_proba(utterances) for predictor in (self.enrolled, self.plain)
        )
        rest = probabilities.clip(SMALLEST)
        rest[:, self.places] = 0
        shared = answers[:, -1:] * rest / rest.sum(axis=1, keepdims=True)
        shared[:, self.places] = answers[:, :-1]
        return shared


class SpeechLMPersonalizer(InContextPersonalizer):
    """Personalizes by reading pairs of a support in the prompt of a speech language model."""

    route: ClassVar[str] = "speech-lm"

    def __init__(
        self,
        model: SpeechLMForICL,
        features: FeatureStore,
        pairs: int | None = None,
        options: DemonstrationOptions = PLAIN,
    ) -> None:
        super().__init__(pairs, options)
        if options.other and model.other_label is None:
            raise UserError(
                f"{self.route}+other: the model was not trained to answer {model.prompt.options.other}: "
                "train it with other_answers, or leave the option out"
            )
        self.model = model
        self.features = features

    @property
    def emotions(self) -> EmotionSet:
        return self.model.prompt.emotions

    def features_of(self, utterances: Sequence[str]) -> Clips:
        return read_clips(self.features, utterances)

    def reading(self, pairs: int) -> SpeechLMPersonalizer:
        return SpeechLMPersonalizer(self.model, self.features, pairs, self.options)

    def worded(self, instruction: str | None, words: Mapping[str, str]) -> SpeechLMPersonalizer:
        model = self.model.worded(instruction, words)
        return SpeechLMPersonalizer(model, self.features, self.pairs, self.options)

    def personalize(self, support: Support) -> SpeechLMPredictor | OtherPredictor:
        enrolled = self.enrolled(support)
        if self.options.other:
            known = set().union(*enrolled.emotions)
            if 0 < len(known) < len(self.emotions):
                return self._with_other(enrolled, known)
        return self.predictor_after(enrolled)

    def predictor_after(self, enrolled: Support) -> SpeechLMPredictor:
        """Return the model that has read these pairs and answers with all labels."""
        matcher = self._matcher(enrolled) if self.options.matched or self.model.matched else None
        return self._predictor(reorderings(enrolled, self.options.orders), matcher)

    def _with_other(self, enrolled: Support, known: Collection[str]) -> OtherPredictor:
        places = [place for place, name in enumerate(self.emotions.names) if name in known]
        other = self.model.other_label
        assert other is not None  # the options were refused otherwise
        labels = EmotionSet((*(self.emotions.names[place] for place in places), other))
        options = replace(self.options, other=False)
        own = SpeechLMPersonalizer(self.model.with_labels(labels), self.features, options=options)
        return OtherPredictor(own.predictor_after(enrolled), self._predictor([enrolled.first(0)]), places)

    def _predictor(self, orders: Sequence[Support], matcher: Matcher | None = None) -> SpeechLMPredictor:
        """Return the model that has read an enrollment in these orders.

        Calibrated answers are not pooled, because the weights were fitted to answers as they are.
        """
        calibrated = self.options.calibrated
        pool = None if calibrated else pooled_answers(self.model, len(orders[0]))
        read = [self._read(ordered) for ordered in orders]
        return SpeechLMPredictor(self.model, self.features, read, calibrated, matcher, pool)

    def _matcher(self, support: Support) -> Matcher | None:
        """Return what matches clips with the enrolled ones; None where fewer than two labels are enrolled."""
        targets = self.model.prompt.emotions.distribution(support.emotions)
        if not len(support) or targets.any(axis=0).sum() < 2:
            return None
        features = _flat(self.model, read_clips(self.features, support.utterances))

        def answer(learned: Sequence[int], asked: Sequence[int]) -> np.ndarray:
            predictor = self._predictor([support.ordered(learned)])
            return predictor.predict_proba(support.ordered(asked).utterances)

        return Matcher(features, targets, choose_mixture(features, targets, answer, support.seed))

    def _read(self, support: Support) -> PrefixCache:
        answers = self.answers(support)
        features = read_clips(self.features, support.utterances) if answers else None
        lengths = [] if features is None else self.model.projector.lengths(features)
        query = max(lengths, default=1)
        check_fits(self.model.prompt, answers, [*lengths, query], self.model.language_model.context)
        return build_prefix_cache(self.model, features, answers)

    def with_labels(self, labels: EmotionSet) -> SpeechLMPersonalizer:
        model = self.model.with_labels(labels)
        return SpeechLMPersonalizer(model, self.features, self.pairs, self.options)

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> SpeechLMPersonalizer:
        model = self.model.standardized_by((self.features[name] for name in clips), prior_clips)
        return SpeechLMPersonalizer(model, self.features, self.pairs, self.options)

    def describe(self) -> dict[str, object]:
        return super().describe() | ({"matched": True} if self.model.matched else {})

    def parameters(self) -> dict[str, int]:
        trained = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        return {"trained": trained, "moved": 0}


def _flat(model: SpeechLMForICL, features: Clips) -> np.ndarray:
    """Return what a `Matcher` reads of clips."""
    return flat_features(features, model.projector.mean, model.projector.std)


def speech_lm(context: RouteContext, pairs: int | None = None) -> SpeechLMPersonalizer:
    """Speech LM: a language model whose weights stay as they are; it hears labeled clips of the person as
    examples in its prompt.

    It uses the model in the folder `speech-lm`; see `DemonstrationOptions` for the options.
    """
    options = parse_demonstration_options(context.options)  # before the model is loaded
    folder = context.folder(MODEL_FOLDER)
    read_config(folder)  # a missing folder is an error here; transformers would look for its name on the Hub
    with loading_on(context.device):
        model = SpeechLMForICL.from_pretrained(folder)
    if context.device != "cpu":  # quantized weights cannot be moved, not even to where they are
        model.to(context.device)
    record = folder / TRAINING
    trained_on = None
    if record.exists():
        with explain_damage(str(record), "train the model again"):
            trained_on = json.loads(record.read_text(encoding="utf-8"))["trained_on"]
    context.check_model(folder, model.prompt.emotions, trained_on)
    level = model.projector.options.level
    features = cached_features(context.recordings, model.speech_encoder, level, context.cache)
    return SpeechLMPersonalizer(model, features, pairs, options)
