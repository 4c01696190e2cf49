"""The one interface that both routes and all baselines implement, and how a method is found by name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from perser.episodes.episode import Episode, Support
from perser.errors import UserError
from perser.labels import EmotionSet

if TYPE_CHECKING:
    from perser.corpora.corpus import Recordings


class Predictor(Protocol):
    """A recognizer that has become one person's."""

    def predict_proba(self, utterances: Sequence[str]) -> np.ndarray:
        """Probabilities by utterance id: float32 (num_utterances, num_emotions), rows sum to 1."""
        ...


class Personalizer(ABC):
    """A way to make a recognizer one person's from a support of K pairs.

    It sees supports and recordings, never the labels of a query.
    """

    route: ClassVar[str]
    """Which family the method belongs to: a route's name, or `trivial`."""

    @abstractmethod
    def personalize(self, support: Support) -> Predictor:
        """Learn from one person's support."""

    def personalize_many(self, supports: Sequence[Support]) -> list[Predictor]:
        """Learn several persons; override where that is faster than one by one."""
        return [self.personalize(support) for support in supports]

    def describe(self) -> dict[str, object]:
        """What the method adapts and how, for the record: short names to plain values."""
        return {}

    def parameters(self) -> dict[str, int]:
        """How many numbers its training fitted (`trained`) and how many become one person's (`moved`)."""
        return {"trained": 0, "moved": 0}


@dataclass(frozen=True)
class RouteContext:
    """What a method is built from: models trained on other persons, and recordings without labels."""

    emotions: EmotionSet
    recordings: Recordings
    models: Path
    """Folder of trained models, one a subfolder: `ssl-e`, `linear`, `multi`, `meta-perser`, `speech-lm`."""
    cache: Path
    """Folder of the feature cache."""
    trained_on: str | None = None
    """Digest of the training part that the models must come from (`EpisodeFile.training_digest`); None where
    nobody they were trained on can be among the recordings."""
    ablation: str | None = None
    """Which variant of the models: with `V`, those in the subfolders `meta-perser-V` and so on."""
    options: tuple[str, ...] = ()
    """What stood behind each `+` of the method's name, such as `orders=4`."""
    device: str = "cpu"
    """Where models compute, as torch names it."""
    opened: set[str] = field(default_factory=set)
    """The names of the subfolders that were asked for."""

    def folder(self, model: str) -> Path:
        """Where a trained model lies."""
        name = model if self.ablation is None else f"{model}-{self.ablation}"
        self.opened.add(name)
        return self.models / name

    def check_model(self, folder: Path, emotions: EmotionSet, trained_on: str | None) -> None:
        """Raises UserError if a model has other emotions, or was trained on another split, so that it may
        have met the persons or utterances that it is to be measured on."""
        if emotions != self.emotions:
            raise UserError(
                f"the model in {folder} knows the emotions {', '.join(emotions.names)}, "
                f"the corpus has {', '.join(self.emotions.names)}: train one on this corpus"
            )
        if self.trained_on is not None and trained_on != self.trained_on:
            raise UserError(
                f"the model in {folder} was trained on another split than these episodes keep apart: "
                "train it with this episodes file"
            )


RouteFactory = Callable[[RouteContext, int | None], Personalizer]
"""One whose method has options has an attribute `check_options`: a function of them (`RouteContext.options`)
that raises UserError for a wrong one."""


def method_names() -> list[str]:
    """The methods that are installed (entry-point group `perser.routes`), sorted."""
    return sorted(entry_points(group="perser.routes").names)


def build_method(name: str, context: RouteContext) -> Personalizer:
    """The personalizer of that name; a number at its end (`speech-lm-8`) is how many pairs it reads, what
    follows a colon (`meta-perser:no-lslr`) is the variant of its model, and what follows each plus
    (`speech-lm-8+calibrated+orders=4`) an option of its own.

    Raises UserError for an unknown name, or an option of a method that has none.
    """
    base, pairs, ablation, options = _parse(name)
    factory = _factory(base, options)
    method = factory(replace(context, ablation=ablation, options=options), pairs)
    if ablation is not None and method.route == "trivial":
        raise UserError(f"'{name}': {base} has no model that could have variants, leave ':{ablation}' out")
    return method


def check_method(name: str, k: int) -> None:
    """Raises UserError for an unknown method or option, or for more pairs than a support of `k` has."""
    base, pairs, _, options = _parse(name)
    _factory(base, options)
    if pairs is not None and pairs > k:
        raise UserError(f"'{name}' reads {pairs} enrollment pairs, but a support has k = {k}: raise k")


def _factory(base: str, options: tuple[str, ...]) -> RouteFactory:
    """What makes an installed method, its options checked."""
    factory: RouteFactory = entry_points(group="perser.routes")[base].load()
    if options:
        check = getattr(factory, "check_options", None)
        if check is None:
            raise UserError(f"{base} has no options: leave '+{'+'.join(options)}' out of the method's name")
        check(options)
    return factory


def _parse(name: str) -> tuple[str, int | None, str | None, tuple[str, ...]]:
    """A method's installed name, and the number, the variant and the options that were put to it."""
    installed = method_names()
    plain, *options = name.split("+")
    method, _, ablation = plain.partition(":")
    if method in installed:
        return method, None, ablation or None, tuple(options)
    numbered = re.fullmatch(r"(.+)-(\d+)", method)
    if numbered is None or numbered[1] not in installed:
        raise UserError(f"unknown method '{name}': installed are {', '.join(installed)}")
    return numbered[1], int(numbered[2]), ablation or None, tuple(options)


def refuse_pairs(method: str, pairs: int | None) -> None:
    """For methods that read the whole support. Raises UserError where a number was put to their name."""
    if pairs is not None:
        raise UserError(f"'{method}-{pairs}': {method} reads the whole support, leave the number out")


def episode_scores(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet
) -> list[dict[str, float]]:
    """Personalize to each episode's support and score its query (the metrics of `perser.metrics`)."""
    from perser.metrics import score_episode

    predictors = personalizer.personalize_many([episode.support for episode in episodes])
    return [
        score_episode(
            predictor.predict_proba(episode.query_utterances), emotions.multi_hot(episode.query_emotions)
        )
        for predictor, episode in zip(predictors, episodes, strict=True)
    ]


def mean_score(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, metric: str = "maF1"
) -> float:
    """The metric's mean over these episodes: what choices on validation episodes are made by. Several
    processes share the episodes out, and all have to call it."""
    from perser.distributed import gather_in_order, own_items

    own = episode_scores(personalizer, own_items(episodes), emotions)
    return float(np.mean([scores[metric] for scores in gather_in_order(own)]))
