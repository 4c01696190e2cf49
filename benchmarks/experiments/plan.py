"""The plan of an experiment: what its options come to, checked before the first stage runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.folds import (
    Fold,
    Setting,
    TrainedFold,
    plan_folds,
    plan_settings,
    plan_trainings,
)
from benchmarks.experiments.joined_corpora import KEY as CORPORA
from benchmarks.experiments.joined_corpora import JoinedCorpus, check_joined, plan_joined
from benchmarks.experiments.options import CONFIGS, TestLabels, read_experiment
from benchmarks.experiments.other_corpora import OtherCorpus, check_entries, identity_of, plan_other_corpora
from benchmarks.experiments.train_models import Recipe, check_trainings, planned_models, trained_methods
from benchmarks.installed import standardized_methods
from benchmarks.measuring.cells import Case
from benchmarks.oracles import check_simulated, is_oracle
from benchmarks.task_sharing import useful_workers
from perser.episodes.sampling import EnrollmentMode
from perser.errors import UserError
from perser.installed_routes import check_method
from perser.io.files import check_outputs


def check_trained_alike(plans: Sequence[Plan]) -> None:
    """Raise UserError if two experiments train the models of the same methods on the same split in different
    ways: their results would be one row."""
    for first, second in combinations(plans, 2):
        shared = trained_methods({*first.recipe.methods} & {*second.recipe.methods})
        if not (shared and _split(first) == _split(second) and {*first.settings} & {*second.settings}):
            continue
        stages: list[tuple[str, object, object]] = [
            ("seed", first.seed, second.seed),
            ("choice of train_seeds", [*first.train_seeds], [*second.train_seeds]),
        ]
        of_second = {model.folder: model for model in planned_models(second.recipe, shared)}
        for model in planned_models(first.recipe, shared):
            stages.append((model.name, model.options, of_second[model.folder].options))
        for stage, options_of_first, options_of_second in stages:
            if options_of_first != options_of_second:
                raise UserError(
                    f"{first.out} and {second.out} train {', '.join(shared)} on the same split, with "
                    f"another {stage}: bench them apart"
                )


def _split(plan: Plan) -> list[object]:
    """Return all that decides which recordings are trained on."""
    prepare = {name: value for name, value in plan.prepare.items() if name != "out"}
    joined = [corpus.options for corpus in plan.joined]
    return [prepare, joined, plan.recipe.encoder, [fold.split for fold in plan.folds]]


@dataclass(frozen=True)
class Plan:
    """The stages' options, the folds and the settings of one experiment."""

    title: str
    out: Path
    cache: Path
    seed: int
    train_seeds: Sequence[int]
    threads: int | None
    workers: int
    prepare: Mapping[str, Any]
    draw: Mapping[str, Any]
    recipe: Recipe
    folds: Sequence[Fold]
    settings: Sequence[Setting]
    limit: int | None
    others: Sequence[OtherCorpus] = ()
    """The corpora in `test_on`, on which the models of the first fold are measured."""
    joined: Sequence[JoinedCorpus] = ()
    """The corpora in `corpora`, joined into the one that is trained on; none where `prepare` makes that."""

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    def trainings(self, fold: Fold) -> list[TrainedFold]:
        """Return what is trained and measured on a fold, by training seed."""
        methods = self.recipe.methods
        return plan_trainings(fold, self.seed, self.train_seeds, methods, trained_methods(methods))

    def case(self, trained: TrainedFold, setting: Setting) -> Case:
        """Return what is measured with these models in a setting."""
        episodes = trained.fold.episodes(setting)
        return Case(self.corpus, episodes, trained.models, self.cache, trained.methods, self.limit)

    def other_case(self, other: OtherCorpus, setting: Setting) -> Case:
        """Return what is measured on another corpus in a setting."""
        models, methods = self.trainings(self.folds[0])[0].models, other.methods(self.recipe.methods)
        return Case(other.corpus, other.fold.episodes(setting), models, self.cache, methods, self.limit)

    @property
    def measured(self) -> list[tuple[Case, Path]]:
        """All cases, each with the file of its scores."""
        own = [
            (self.case(trained, setting), trained.scores(setting))
            for fold in self.folds
            for trained in self.trainings(fold)
            for setting in self.settings
        ]
        return own + [
            (self.other_case(other, setting), other.fold.scores(setting))
            for other in self.others
            for setting in other.settings(self.settings)
        ]


def plan_file(
    file: Path,
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    train_seeds: Sequence[int] | None = None,
) -> Plan:
    """Return the plan of an experiment's file, with this limit and these methods and training seeds, if any,
    instead of its own.

    Raises UserError for what can be known to fail.
    """
    options = read_experiment(file)
    options["bench"] |= {"limit": limit} | ({"methods": methods} if methods else {})
    if train_seeds is not None:
        options["train_seeds"] = list(train_seeds)
    return make_plan(**options)


def make_plan(
    title: str,
    out: Path,
    cache: Path | None,
    seed: int,
    train_seeds: list[int],
    threads: int | None,
    workers: int,
    folds: list[int] | Literal["all"] | None,
    sweep_k: list[int],
    modes: list[EnrollmentMode],
    encoder: str,
    prepare: Mapping[str, Any],
    draw: Mapping[str, Any],
    ablations: Mapping[str, Any],
    bench: Mapping[str, Any],
    corpora: Sequence[str | Mapping[str, Any]] = (),
    test_on: Sequence[str | Mapping[str, Any]] = (),
    test_labels: TestLabels = "shared",
    **trainings: Mapping[str, Any],
) -> Plan:
    """Return the plan of an experiment's options; `trainings` are those of the routes' trainings, by key.

    Raises UserError for what can be known to fail.
    """
    if corpora and prepare["corpus"] is not None:
        raise UserError(f"{CORPORA} and prepare.corpus: give one of them")
    if prepare["corpus"] is None and not corpora:
        raise UserError(
            f"prepare.corpus is missing: give it, or --config FILE.yaml with an experiment ({_files()}), "
            "or run `perser quickstart`"
        )
    # A simulated corpus has the experiment's seed; real recordings, and listeners simulated over them, do not
    # change with it.
    if prepare["corpus"] == "simulated" and prepare["seed"] is None:
        prepare = {**prepare, "seed": seed}
    methods, meta_trainings = with_ablations(bench["methods"], trainings["meta_train"], ablations)
    methods = standardized_methods(methods, bench.get("standardize", "model"))
    usual = Setting(draw["k"], draw["mode"])
    plan = Plan(
        title=title,
        out=out,
        cache=cache or out / "cache",
        seed=seed,
        train_seeds=train_seeds,
        threads=threads,
        workers=useful_workers(workers, threads),
        prepare={**prepare, "out": out / "corpus"},
        draw=draw,
        recipe=Recipe(methods, encoder, trainings, meta_trainings),
        folds=plan_folds(folds, draw["split"], usual, out),
        settings=plan_settings(usual, sweep_k, modes),
        limit=bench["limit"],
        others=plan_other_corpora(test_on, test_labels, out, usual, draw["split"].scenario, draw["q"], seed),
        joined=plan_joined(corpora, out, seed),
    )
    check(plan)
    return plan


def check(plan: Plan) -> None:
    """Raise UserError for what can be known to fail before the first stage runs."""
    from perser.cli.prepare import check_prepare
    from perser.encoders.loading import check_encoder
    from perser.episodes.draw import check_counts

    check_outputs(folders={"out": plan.out, "cache": plan.cache})
    if len(set(plan.train_seeds)) < len(plan.train_seeds):
        raise UserError(f"train_seeds: {[*plan.train_seeds]}, give each seed once")
    recipe, draw, smallest = plan.recipe, plan.draw, min(setting.k for setting in plan.settings)
    counts = {f"draw.{name}": draw[name] for name in ("k", "q", "seeds", "validation_seeds")}
    check_counts(counts | {"sweep_k": smallest})
    for method in recipe.methods:
        check_method(method, smallest)
    if plan.joined:
        check_joined(plan.joined)
        if any(map(is_oracle, recipe.methods)):
            raise UserError(
                f"bench.methods: oracles know the listeners of one corpus alone, not of {CORPORA}"
            )
    else:
        reader, options = check_prepare(
            **{name: value for name, value in plan.prepare.items() if name != "allow_skips"}
        )
        if any(map(is_oracle, recipe.methods)):
            check_simulated(reader, options, draw["split"].scenario)
    trained = [corpus.identity for corpus in plan.joined] or [identity_of(None, plan.prepare)]
    check_entries(plan.others, trained, recipe.methods)
    check_encoder(recipe.encoder)
    check_trainings(recipe)


def _files() -> str:
    """Return the names of the experiments' files; without a checkout, where they are."""
    names = [f"configs/{file.name}" for file in sorted(CONFIGS.glob("*.yaml"))]
    return ", ".join(name for name in names if "/bench_" not in name) or "see configs/ in perser's repository"
