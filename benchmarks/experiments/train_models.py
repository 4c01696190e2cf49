"""Train the models that the methods of an experiment need, each as a stage of its own.

Which models those are, and how they are trained, is what the installed routes say (`perser.route.Route`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.experiments.stages import Stages
from benchmarks.task_sharing import run_with_workers
from perser.corpora.corpus import Corpus
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.installed_routes import installed_routes, parse_method
from perser.personalizer import ablation_folder
from perser.route import Options, TrainedModel, Training

Work = Mapping[str, Callable[[], None]]
"""What does each piece of work, by a title."""

Meanwhile = Callable[[Sequence[str]], Work]
"""Returns the work that can be done beside a training, by the folders of the models that are trained."""


@dataclass(frozen=True)
class Recipe:
    """What an experiment trains its models with; the corpus, the episodes and the folders come with a fold.

    Args:
        methods: The methods to be measured.
        encoder: Name of the speech encoder.
        options: By the key of a training: the options that the file gives it.
        ablations: By a model's folder: the options of its training where they differ from those in `options`.
    """

    methods: Sequence[str]
    encoder: str
    options: Mapping[str, Options]
    ablations: Mapping[str, Options] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedModel:
    """A model to be trained, or an ablation of one.

    Args:
        folder: Its name in the folder of trained models.
        model: What its route says about it.
        training: The training that makes it.
        ablation: The ablation's name; None for the model itself.
        options: The options that the file gives its training.
    """

    folder: str
    model: TrainedModel
    training: Training
    ablation: str | None
    options: Options

    @property
    def name(self) -> str:
        """The key of its training and the ablation: `meta_train-no-lslr`."""
        return ablation_folder(self.training.key, self.ablation)

    @property
    def stage(self) -> str:
        """The name of the stage that trains it, without the fold's prefix."""
        return ablation_folder(self.model.stage_name, self.ablation)


def planned_models(recipe: Recipe, methods: Sequence[str]) -> list[PlannedModel]:
    """Return the models that methods of the recipe need, in the order in which they are trained.

    A model is followed by those that need it. Raises UserError for a model that no installed route
    trains.
    """
    trainings, models = _trainings_and_models()
    needed: dict[str, PlannedModel] = {}

    def add(name: str, ablation: str | None, needed_by: str) -> None:
        if name not in models:
            raise UserError(f"{needed_by} needs the model '{name}', which no installed route trains")
        folder, model = ablation_folder(name, ablation), models[name]
        if model.training not in recipe.options:
            raise UserError(f"the training {model.training} of '{name}' does not load: reinstall its package")
        options = recipe.ablations.get(folder, recipe.options[model.training])
        needed[folder] = PlannedModel(folder, model, trainings[model.training], ablation, options)
        for base in model.requires:
            if base not in needed:
                add(base, None, f"the model '{name}'")

    for method in methods:
        parsed = parse_method(method)
        for name in parsed.route.needs.get(parsed.method, ()):
            add(name, parsed.ablation, f"the method '{method}'")
    declared, ablations = list(models), ["", *recipe.ablations]
    return _bases_first(
        sorted(
            needed.values(),
            key=lambda planned: (
                declared.index(planned.model.folder),
                ablations.index(planned.folder if planned.folder in ablations else ""),
            ),
        )
    )


def loads(training: Training) -> bool:
    """Return whether a training's function can be imported: a broken package must not end other trainings."""
    try:
        return callable(training.function)
    except Exception:  # of another package
        return False


def _trainings_and_models() -> tuple[dict[str, Training], dict[str, TrainedModel]]:
    """Return what the installed routes train, by key and by folder.

    Raises UserError where two routes use the same name.
    """
    trainings: dict[str, Training] = {}
    models: dict[str, TrainedModel] = {}
    for route in installed_routes():
        for training in route.train:
            if training.key in trainings:
                raise UserError(f"two installed routes have a training '{training.key}': remove one package")
            trainings[training.key] = training
        for model in route.models:
            if model.folder in models:
                raise UserError(f"two installed routes train a model '{model.folder}': remove one package")
            models[model.folder] = model
    return trainings, models


def trained_methods(methods: Iterable[str]) -> list[str]:
    """Return those of the methods that need trained models, sorted."""
    parsed = {method: parse_method(method) for method in methods}
    return sorted(method for method, name in parsed.items() if name.route.needs.get(name.method))


def check_trainings(recipe: Recipe) -> None:
    """Raise UserError for options of trainings that a route knows to fail."""
    planned = planned_models(recipe, recipe.methods)
    folders = {model.folder for model in planned}
    for route in installed_routes():
        if route.check is None:
            continue
        options = {training.key: recipe.options[training.key] for training in route.train}
        route.check(options, folders)
        for model in planned:
            if model.ablation is not None and model.model in route.models:
                route.check(options | {model.training.key: model.options}, folders)


def check_on_episodes(recipe: Recipe, corpus: Corpus, episodes: EpisodeFile) -> None:
    """Raise UserError for options of trainings that a route knows to fail on this corpus."""
    for planned in planned_models(recipe, recipe.methods):
        for route in installed_routes():
            if route.check_episodes is not None and planned.model in route.models:
                route.check_episodes(planned.model.folder, planned.options, corpus, episodes)


def train(
    recipe: Recipe,
    stages: Stages,
    prefix: str,
    models: Path,
    shared: Options,
    after: tuple[str, ...],
    workers: int = 0,
    meanwhile: Meanwhile | None = None,
) -> tuple[str, ...]:
    """Train what the methods need into the folder `models`; return the names of the stages.

    Args:
        recipe: What is trained and how.
        stages: The stages of the run, of which these become part.
        prefix: What the names of the stages begin with.
        models: Folder of the trained models.
        shared: The settings that trainings share: corpus, episodes, cache, seed.
        after: The stages that made the corpus and the episodes.
        workers: How many models may be trained at the same time as another (`run_with_workers`).
        meanwhile: Other work for a process that is free while models are trained.
    """
    planned = planned_models(recipe, recipe.methods)
    names = {model.folder: f"{prefix}{model.stage}" for model in planned}
    shared = {**shared, "encoder": recipe.encoder}
    calls: dict[str, dict[str, Any]] = {}
    for model in planned:
        training, options = model.training, model.options
        if training.complete is not None:
            options = training.complete(options, recipe.methods)
        options = {**options, **{name: shared[name] for name in training.shared}}
        options |= {**model.model.options(models), "out": models / model.folder}
        calls[model.folder] = {
            "name": names[model.folder],
            "function": training.function,
            "options": options,
            "after": tuple(names[base] for base in model.model.requires) or after,
            "sources": training.sources,
            "resumes": training.resumes,
        }
    trained: list[str] = []
    for level in _levels(planned):
        together = [calls[model.folder] for model in level]
        others = {} if meanwhile is None else meanwhile(trained)
        tasks = [partial(stages.run, **call) for call in together] + list(others.values())
        titles = [str(call["name"]) for call in together] + list(others)
        run_with_workers(partial(_run_numbered, tasks), titles, workers)
        trained += [model.folder for model in level]
        for call in together:
            if not stages.knows(call["name"]):  # a worker ran it, and wrote its record
                stages.run(**call)
    return tuple(names.values())


def _run_numbered(tasks: Sequence[Callable[[], None]], number: int) -> None:
    tasks[number]()


def _levels(planned: Sequence[PlannedModel]) -> list[list[PlannedModel]]:
    """Return the models in groups: those of a group need only models of the groups before it."""
    levels: list[list[PlannedModel]] = []
    level_of: dict[str, int] = {}
    for model in planned:
        level = 1 + max((level_of[base] for base in model.model.requires), default=-1)
        level_of[model.folder] = level
        levels.extend([[]] * (level + 1 - len(levels)))
        levels[level] = [*levels[level], model]
    return levels


def _bases_first(models: Sequence[PlannedModel]) -> list[PlannedModel]:
    """Return the models in an order in which each is followed by those that need it."""
    ordered: dict[str, PlannedModel] = {}

    def add(planned: PlannedModel) -> None:
        if planned.folder in ordered or not set(planned.model.requires) <= set(ordered):
            return
        ordered[planned.folder] = planned
        for other in models:
            if planned.folder in other.model.requires:
                add(other)

    for planned in models:
        add(planned)
    if circle := [planned.folder for planned in models if planned.folder not in ordered]:
        raise UserError(f"the models {', '.join(circle)} need one another: a route is wrong about them")
    return list(ordered.values())


def fixed_options(training: Training) -> set[str]:
    """Return the options of a training that its models fix, so that a file cannot choose them.

    A model's None does not count: it only leaves out what the file chooses for other models."""
    models = [model for route in installed_routes() for model in route.models]
    own = [model.options(Path()) for model in models if model.training == training.key]
    return {name for options in own for name, value in options.items() if value is not None}
