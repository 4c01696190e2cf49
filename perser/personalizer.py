"""The interface that both routes and all baselines implement, and how well a method does on episodes."""

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
    other_corpora: dict[str, str] = field(default_factory=dict)
    """The models that were trained on other corpora and have met nothing of this one: the name of the
    subfolder, and that of the corpora."""

    def folder(self, model: str) -> Path:
        """Return the folder of a trained model."""
        name = ablation_folder(model, self.ablation)
        self.opened.add(name)
        return self.models / name

    def check_model(self, folder: Path, emotions: EmotionSet, trained_on: str | None) -> None:
        """Raise UserError if a model has other emotions, or may have met what it is measured on.

        After training on another split, it may have met the persons or utterances of these episodes. A model
        that has met no recording, speaker or listener of this corpus is measured: for it, the corpus is a
        test set.
        """
        if emotions != self.emotions:
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
        self.other_corpora[folder.name] = ", ".join(corpora)


def ablation_folder(model: str, ablation: str | None) -> str:
    """Return the name of the folder of a model's ablation, or of the model itself where there is none."""
    return model if ablation is None else f"{model}-{ablation}"


def refuse_pairs(method: str, pairs: int | None) -> None:
    """Raise UserError for a number on the name of a method that reads the whole support."""
    if pairs is not None:
        raise UserError(f"'{method}-{pairs}': {method} reads the whole support, leave the number out")


def episode_scores(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet
) -> list[dict[str, float]]:
    """Personalize to each episode's support and return the scores of its query (`perser.metrics`)."""
    from perser.metrics import score_episode

    predictors = personalizer.personalize_many([episode.support for episode in episodes])
    return [
        score_episode(
            predictor.predict_proba(episode.query_utterances), emotions.multi_hot(episode.query_emotions)
        )
        for predictor, episode in zip(predictors, episodes, strict=True)
    ]


def all_scores(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet
) -> list[dict[str, float]]:
    """Return `episode_scores`, to which several processes contribute: all of them have to call it."""
    from perser.distributed import gather_in_order, own_items

    return gather_in_order(episode_scores(personalizer, own_items(episodes), emotions))


def mean_score(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, metric: str = "maF1"
) -> float:
    """Return a metric's mean over episodes, by which choices are made on validation episodes.

    Several processes share the episodes, and all of them have to call it.
    """
    return float(np.mean([scores[metric] for scores in all_scores(personalizer, episodes, emotions)]))
