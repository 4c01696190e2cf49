"""The interface that both routes and all baselines implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from perser.corpora.content import TRAINED_ON, Content
from perser.episodes.episode import Episode, Support
from perser.episodes.trained_on import contents_of_training
from perser.errors import UserError
from perser.labels import EmotionSet

if TYPE_CHECKING:
    from perser.corpora.corpus import Recordings


SUPPORT_PARTS = 4
"""Into how many parts a support is divided where each is predicted after learning from the others."""


class Predictor(Protocol):
    """A recognizer that has been personalized to one person."""

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Return probabilities by utterance id: float32 (num_utterances, num_emotions), rows sum to 1."""
        ...


class Personalizer(ABC):
    """A way to personalize a recognizer from a support of K pairs.

    It sees supports and recordings, never the labels of a query.
    """

    route: ClassVar[str]
    """The name of the route that the method belongs to, or `trivial`."""

    @abstractmethod
    def personalize(self, support: Support) -> Predictor:
        """Learn from one person's support."""

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Learn from the supports of several persons; override where that is faster than one after the
        other."""
        return [self.personalize(support) for support in supports]

    def with_labels(self, labels: EmotionSet) -> Personalizer:
        """Return this method with other labels to choose from, which its supports have examples of; override
        where the method can learn labels that nobody trained it on.

        Raises UserError where it cannot.
        """
        raise UserError(
            f"{type(self).__name__} answers with the labels that it was trained on alone: "
            "measure speech-lm, meta-perser or head-few on labels that the person chose"
        )

    def standardized_by(self, clips: Sequence[str], prior_clips: float) -> Personalizer:
        """Return this method with its features standardized by these clips, by utterance id, instead of those
        that its model was trained on, which count as much as `prior_clips` clips; override where a model
        standardizes features.

        Raises UserError where none does.
        """
        raise UserError(
            f"{type(self).__name__} standardizes no features: leave '+standardize=' out of the method's name"
        )

    def predict_support(self, support: Support) -> np.ndarray:
        """Return what the method says of a support's utterances where it has not learned from them.

        Float32 (K, num_emotions). Each part of the support is predicted after learning from the others;
        override for a method that learns from no pair, or from only so many. Raises UserError for a support
        of a single pair.
        """
        if len(support) < 2:
            raise UserError(
                "a bias is fitted to pairs that a method has not learned from: give k of at least 2"
            )
        places = np.arange(len(support))
        predicted: list[np.ndarray] = [np.empty(0)] * len(support)
        for first in range(min(SUPPORT_PARTS, len(support))):
            part = places[first::SUPPORT_PARTS]
            predictor = self.personalize(support.ordered(np.setdiff1d(places, part)))
            for place, row in zip(
                part, predictor.predict_proba(support.ordered(part).utterances), strict=True
            ):
                predicted[place] = row
        return np.stack(predicted)

    def describe(self) -> dict[str, object]:
        """Return what the method adapts and how, for the record: short names to plain values."""
        return {}

    def parameters(self) -> dict[str, int]:
        """Return how many numbers were fitted in training (`trained`) and how many are set for each person
        (`moved`)."""
        return {"trained": 0, "moved": 0}


@dataclass(frozen=True)
class RouteContext:
    """What a method is built from: models trained on other persons, and recordings without labels."""

    emotions: EmotionSet
    recordings: Recordings
    models: Path
    """Folder of the trained models, one in each subfolder: `ssl-e`, `linear`, `multi`, `meta-perser`,
    `speech-lm`."""
    cache: Path
    """Folder of the feature cache."""
    trained_on: str | None = None
    """Digest of the training part that the models must come from (`EpisodeFile.training_digest`); None where
    no training person can be among the recordings."""
    ablation: str | None = None
    """Which ablation of the models to use: with `V`, those in the subfolders `meta-perser-V` and so on."""
    options: tuple[str, ...] = ()
    """The text after each `+` of the method's name, such as `orders=4`."""
    device: str = "cpu"
    """Where models compute, as torch names it."""
    opened: set[str] = field(default_factory=set)
    """Names of the subfolders that methods have asked for so far."""
    content: Callable[[], Content] | None = None
    """Returns the content of the corpus, with which that of a model's training is compared."""
    validation: Callable[[], Sequence[Episode]] | None = None
    """Returns the episodes of the validation persons, on which strengths are chosen."""
    utterances: Callable[[], Sequence[str]] | None = None
    """Returns the utterances of all episodes: what a method may be asked about or learn from."""
    other_corpora: dict[str, str] = field(default_factory=dict)
    """The models that were trained on other corpora and have met nothing of this one: the name of the
    subfolder, and those of the corpora, with a plus between them, as a joined corpus is called."""
    parts: tuple[str, ...] = ()
    """Names of the corpora that were joined into this one, with which the utterances' names begin; empty for
    any other corpus."""
    open_labels: bool = False
    """Whether methods learn the labels of each episode, so that the models may know other emotions."""

    def folder(self, model: str) -> Path:
        """Return the folder of a trained model."""
        name = ablation_folder(model, self.ablation)
        self.opened.add(name)
        return self.models / name

    def check_model(self, folder: Path, emotions: EmotionSet, trained_on: str | None) -> None:
        """Raise UserError if a model has other emotions, or may have met what it is measured on.

        After training on another split, it may have met the persons or utterances of these episodes. A model
        that has met no recording, speaker or listener of this corpus is measured: for it, the corpus is a
        test set. Where labels are open, it may have any emotions.
        """
        if emotions != self.emotions and not self.open_labels:
            remedy = "train one on this corpus"
            if set(self.emotions.names) <= set(emotions.names):
                remedy = f"prepare the corpus with --emotions '{';'.join(emotions.names)}', or {remedy}"
            raise UserError(
                f"the model in {folder} knows the emotions {', '.join(emotions.names)}, "
                f"the corpus has {', '.join(self.emotions.names)}: {remedy}"
            )
        if self.trained_on is None or trained_on == self.trained_on:
            return
        other = f"the model in {folder} was trained on another split than that of these episodes"
        trainings = contents_of_training(folder, trained_on)
        if trainings is None or self.content is None:
            raise UserError(
                f"{other}, and has no {TRAINED_ON} that says which recordings it has met: "
                "train it with this episodes file, or train it again to measure it on another corpus"
            )
        content = self.content()
        if shared := next(filter(None, map(content.shared_with, trainings)), None):
            raise UserError(
                f"{other}, and has met {shared}: train it with this episodes file, or measure it on a corpus "
                "that has nothing of its training"
            )
        corpora = dict.fromkeys(training.corpus for training in trainings)
        self.other_corpora[folder.name] = "+".join(corpora)  # as a joined corpus is called


def ablation_folder(model: str, ablation: str | None) -> str:
    """Return the name of the folder of a model's ablation, or of the model itself where there is none."""
    return model if ablation is None else f"{model}-{ablation}"


def refuse_pairs(method: str, pairs: int | None) -> None:
    """Raise UserError for a number on the name of a method that reads the whole support."""
    if pairs is not None:
        raise UserError(f"'{method}-{pairs}': {method} reads the whole support, leave the number out")
