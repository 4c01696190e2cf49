"""The contract of a route: what a package provides so that its methods are measured, trained and used.

A package names its `Route` under the entry-point group `perser.routes`:

    [project.entry-points."perser.routes"]
    nearest = "perser_nearest:ROUTE"

Only a name and one method are required. Importing the module of a route must not import torch: `perser
models` loads every installed route. A function whose module is large can be given by its place, spelled as
an entry point is (`package.module:function`); it is then imported when it is first used. See
docs/adding_a_method.md.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from perser.errors import UserError
from perser.io.model_facts import ModelFacts
from perser.personalizer import Personalizer, RouteContext

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from perser.corpora.corpus import Corpus
    from perser.encoders.feature_cache import AudioSource
    from perser.episodes.episode import Support
    from perser.episodes.episode_file import EpisodeFile
    from perser.labels import Emotions, EmotionSet

MethodFactory = Callable[[RouteContext, int | None], Personalizer]
"""Builds a method. The number is how many enrollment pairs it reads (`speech-lm-8`), None for all of them."""

Options = Mapping[str, Any]

ADDRESS = "#"
"""Stands between an endpoint and the name of a model there."""

EncodedClips = Any
"""Clips in the form that a route's model reads: what its `encode_clips` returns is passed back to it."""


class RoutePredictor(Protocol):
    """A route's model that answers about clips, unadapted or as one person would."""

    def predict_proba(self, encoded: EncodedClips, names: Sequence[str]) -> np.ndarray:
        """Return probabilities for the named clips: float32 (num_clips, num_emotions), rows sum to 1.

        Raise UserError for a clip that is too long for the model.
        """
        ...


class RouteModel(Protocol):
    """A trained model of a route, which answers about single clips.

    A profile stores what personalizes it: the tensors that `enroll` returns and the labels of the enrolled
    clips.
    """

    @property
    def route(self) -> str: ...
    @property
    def emotions(self) -> EmotionSet: ...

    def fingerprint(self) -> str:
        """Return a SHA-256 digest of every weight and setting that the answers depend on."""
        ...

    def to(self, device: str) -> None:
        """Move the model to a device. Tensors passed to it may still be on the CPU."""
        ...

    def encode_clips(self, clips: AudioSource) -> EncodedClips:
        """Encode clips once, for everything that is asked about them."""
        ...

    def embed_clips(self, encoded: EncodedClips, names: Sequence[str]) -> np.ndarray:
        """Return the unadapted model's representation of the named clips: float32 (num_clips, D)."""
        ...

    def enroll(self, encoded: EncodedClips, support: Support) -> dict[str, Tensor]:
        """Learn one person's pairs, whose utterances are names of encoded clips; return what was learned."""
        ...

    def predictor(self, tensors: Mapping[str, Tensor], labels: Sequence[Emotions]) -> RoutePredictor:
        """Return the person's predictor, or the unadapted one where both arguments are empty.

        Raise UserError for tensors that do not fit this model.
        """
        ...


@runtime_checkable
class OpenRouteModel(RouteModel, Protocol):
    """A model that can learn labels that nobody trained it on from a few examples of each."""

    def with_labels(self, labels: EmotionSet) -> RouteModel:
        """Return this model with other labels to choose from, and the same weights and fingerprint.

        Raise UserError for labels that the model cannot learn.
        """
        ...


@runtime_checkable
class OtherRouteModel(OpenRouteModel, Protocol):
    """A model that can also answer that a clip has none of the labels that were enrolled."""

    @property
    def other_label(self) -> str | None:
        """The label that says so, which needs no examples; None where the model was not trained for it."""
        ...


@runtime_checkable
class SizedRouteModel(RouteModel, Protocol):
    """A model that says how large it is.

    A small one computes on one core (`perser.inference.computing_thread`).
    """

    def num_weights(self) -> int:
        """Return the number of its weights, the encoder's among them."""
        ...


@runtime_checkable
class StandardizingRouteModel(RouteModel, Protocol):
    """A model that standardizes features, by the clips of its training or by others."""

    @property
    def standardization(self) -> Literal["enrolled", "model"]:
        """By which clips it answers best after an enrollment, as measured: a person's enrolled ones, together
        with those of its training, or the latter alone."""
        ...

    def moments(
        self, encoded: EncodedClips, names: Sequence[str], prior_clips: float
    ) -> tuple[Tensor, Tensor] | None:
        """Return the mean and the standard deviation of the named clips' features, together with the model's
        own, which count as much as `prior_clips` clips; None where it reads features as they are."""
        ...

    def standardized(self, mean: Tensor, deviation: Tensor) -> RouteModel:
        """Return this model with another mean and deviation, and the same weights.

        Raise UserError for those that do not fit it.
        """
        ...


@runtime_checkable
class GrowingRouteModel(RouteModel, Protocol):
    """A model whose profiles keep enough of the enrolled clips to learn further ones beside them.

    Profiles of other models go on learning only if they hold the clips' audio.
    """

    def encode_more(
        self, tensors: Mapping[str, Tensor], enrolled: Sequence[str], clips: AudioSource
    ) -> EncodedClips | None:
        """Return the enrolled clips, as a profile's tensors keep them, and new clips, encoded now.

        `enrolled`: what the enrolled clips are to be called, in their order. Return None, before anything is
        encoded, where the tensors do not keep them.
        """
        ...


@dataclass(frozen=True)
class Exported:
    """What a route says about a model that it has exported.

    Args:
        summary: What the model is and how it is personalized, in a few sentences.
        transformers_code: Python that loads the folder `MODEL` through transformers' Auto classes and
            applies it to a recording.
        methods: The methods of a comparison that use this model, by the name of its folder there.
        trained_on: Digest of the training data (`EpisodeFile.training_digest`); None where unknown.
        bases: Models on the Hub that it still needs, with their commit where it is known.
        task: The Hub's name of what transformers' own classes do with the folder.
    """

    summary: str
    transformers_code: str
    methods: Mapping[str, tuple[str, ...]]
    trained_on: str | None = None
    bases: Mapping[str, str | None] = field(default_factory=dict)
    task: str = "audio-classification"


@dataclass(frozen=True)
class Training:
    """A command that trains models, as `perser experiment` calls it.

    Args:
        key: Key of its options in an experiment's file.
        command: The command's function, or its place. It takes `out` (the folder to write), the arguments in
            `shared` and options of its own.
        shared: The experiment's own settings that are passed on: any of `corpus`, `episodes`, `cache`,
            `seed` and `encoder`.
        sources: Arguments that may name files from before the run (a model's folder): the training runs again
            where those files have changed.
        resumes: Whether the command takes `resume`: whether to go on from where it was stopped.
        complete: Function of the options and the methods to be measured that returns the options to train
            with, where a method needs something that the file leaves out.
    """

    key: str
    command: Callable[..., None] | str
    shared: tuple[str, ...] = ("corpus", "episodes", "cache", "seed")
    sources: tuple[str, ...] = ()
    resumes: bool = False
    complete: Callable[[Options, Sequence[str]], Options] | None = None

    @property
    def function(self) -> Callable[..., None]:
        """The command's function, imported now if it was given by its place."""
        return resolve(self.command)


@dataclass(frozen=True)
class TrainedModel:
    """A model that methods need, and how `perser experiment` trains it.

    Args:
        folder: Its name in the folder of trained models.
        training: The `key` of the training that makes it.
        stage: Name of that stage of the run; `train FOLDER` when empty.
        requires: Folders of the models that must be trained first, of this route or another.
        options: Function of the folder of trained models that returns the options which the file cannot
            choose.
    """

    folder: str
    training: str
    stage: str = ""
    requires: tuple[str, ...] = ()
    options: Callable[[Path], Options] = field(default=lambda models: {})

    @property
    def stage_name(self) -> str:
        return self.stage or f"train {self.folder}"


@dataclass(frozen=True)
class Route:
    """A family of methods and what is known about them.

    Args:
        name: The route's name, by which reports color its methods (`Personalizer.route`).
        methods: By name: the function that builds the method, or its place. The first paragraph of its
            docstring describes the method in `perser bench --list`.
        check_options: Raises UserError for a wrong option of a method: called with its name and the text
            after each `+` (`speech-lm-8+orders=4`). None where no method has options.
        load: Returns the model in a folder, or None, without importing anything large, where the folder holds
            none of this route. None where the route has no models that answer about single clips.
        load_address: Returns the model behind an address such as `http://localhost:8000/v1#NAME` (see
            `address_of`), or None, where the route asks none. It loads nothing.
        check_enrollment: Raises UserError for a model, by its name, that is known to read no enrolled clips,
            before it is loaded.
        facts: Returns what the files of such a folder say, or None, without loading the model.
        export: Writes everything that the model in the first folder needs on another machine to the second,
            an existing one, except for models on the Hub. Raises UserError where that is impossible.
        train: The trainings that the route offers to `perser experiment`.
        models: The models that these trainings make.
        needs: By method: the folders of the models that it needs, of this route or another.
        check: Raises UserError for options of the trainings that are known to fail, before anything runs:
            called with the options by `key` and the folders of the models that are going to be trained.
        check_episodes: Raises UserError for options of a training that are known to fail on the corpus, once
            its episodes are drawn and before the first training: called for each model that is going to be
            trained, with its folder (`TrainedModel.folder`), the options of its training, the corpus and the
            episodes.
        check_models: Raises UserError for a method that the trained models are known not to allow, by their
            small files alone: called with the method, the folder of the trained models and the ablation.
        check_method: Raises UserError for a method that cannot be built, before anything is loaded: called
            with its name, and with the context and the number of pairs that its function gets. Or its place.
        names_models: Methods whose models are named after the colon, and not trained here: there the number
            of pairs may also stand at the end (`audio-llm:NAME-8`).
        numbered: Methods whose names may end in a number of enrollment pairs; None: all.
        learn_labels: Methods that can learn labels which nobody trained them on (`Personalizer.with_labels`),
            and so can be measured in the scenario `open`.
    """

    name: str
    methods: Mapping[str, MethodFactory | str]
    check_options: Callable[[str, tuple[str, ...]], object] | None = None
    load: Callable[[Path], RouteModel | None] | None = None
    load_address: Callable[[str], RouteModel | None] | None = None
    check_enrollment: Callable[[str], None] | None = None
    facts: Callable[[Path], ModelFacts | None] | None = None
    export: Callable[[Path, Path], Exported] | None = None
    train: tuple[Training, ...] = ()
    models: tuple[TrainedModel, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    check: Callable[[Mapping[str, Options], Collection[str]], None] | None = None
    check_episodes: Callable[[str, Options, Corpus, EpisodeFile], None] | None = None
    check_models: Callable[[str, Path, str | None], None] | None = None
    check_method: Callable[[str, RouteContext, int | None], None] | str | None = None
    names_models: Collection[str] = ()
    numbered: Collection[str] | None = None
    learn_labels: Collection[str] = ()

    def factory(self, method: str) -> MethodFactory:
        """Return the function that builds a method, imported now if it was given by its place."""
        return resolve(self.methods[method])


def address_of(endpoint: str, model: str | None) -> str:
    """Return the address of a model behind an endpoint.

    Args:
        endpoint: The endpoint's address, or a JSON file with its settings.
        model: The name that the endpoint knows the model by; None for that in the file.

    Raises UserError for what is neither.
    """
    file = Path(endpoint).expanduser()
    if "://" not in endpoint and not (file.is_file() and file.suffix == ".json"):
        raise UserError(
            f"endpoint: '{endpoint}' is neither an address nor a JSON file: give one such as "
            "http://localhost:8000/v1"
        )
    place = endpoint if "://" in endpoint else str(file.resolve())
    return f"{place}{ADDRESS}{model or ''}"


def split_address(name: str) -> tuple[str, str] | None:
    """Return the endpoint and the model of an address; None for a name that is none."""
    endpoint, mark, model = name.partition(ADDRESS)
    is_one = mark and ("://" in endpoint or endpoint.endswith(".json"))
    return (endpoint, model) if is_one else None


def resolve(function: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return the function at a place such as `package.module:function`; a function is returned as it is."""
    return pkgutil.resolve_name(function) if isinstance(function, str) else function


def check_fields(options_class: type, key: str, options: Options) -> None:
    """Raise UserError that names the key where a dataclass refuses the options that are its fields."""
    known = {option.name for option in fields(options_class)}
    try:
        options_class(**{name: value for name, value in options.items() if name in known})
    except ValueError as error:
        raise UserError(f"{key}.{error}") from error
