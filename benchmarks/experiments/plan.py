"""The plan of an experiment: what its options come to, checked before the first stage runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.folds import Fold, Setting, plan_folds, plan_settings
from benchmarks.experiments.options import CONFIGS, read_experiment
from benchmarks.experiments.train_models import Recipe
from benchmarks.measuring.cells import Case
from benchmarks.trivial_baselines import TRIVIAL
from perser.episodes.sampling import EnrollmentMode
from perser.errors import UserError
from perser.personalizer import check_method


def check_trained_alike(plans: Sequence[Plan]) -> None:
    """Raise UserError if two experiments train the models of the same methods on the same split in different
    ways: their results would be one row."""
    for first, second in combinations(plans, 2):
        shared = {*first.recipe.methods} & {*second.recipe.methods} - {*TRIVIAL}
        if not (shared and _split(first) == _split(second) and {*first.settings} & {*second.settings}):
            continue
        stages: list[tuple[str, object, object]] = [("seed", first.seed, second.seed)]
        stages.append(("pretrain", first.recipe.pretrain, second.recipe.pretrain))
        for model in {*first.recipe.meta_train} & {*second.recipe.meta_train}:
            if first.recipe.needs(model) and second.recipe.needs(model):
                options = first.recipe.meta_train[model], second.recipe.meta_train[model]
                stages.append((model.replace("meta-perser", "meta_train"), *options))
        if any(method.startswith("speech-lm") for method in shared):
            stages.append(("icl_train", first.recipe.icl_train, second.recipe.icl_train))
        for stage, options_of_first, options_of_second in stages:
            if options_of_first != options_of_second:
                raise UserError(
                    f"{first.out} and {second.out} train {', '.join(sorted(shared))} on the same split, with "
                    f"another {stage}: bench them apart"
                )


def _split(plan: Plan) -> list[object]:
    """Return all that decides which recordings are trained on."""
    prepare = {name: value for name, value in plan.prepare.items() if name != "out"}
    return [prepare, plan.recipe.encoder, [fold.split for fold in plan.folds]]


@dataclass(frozen=True)
class Plan:
    """The stages' options, the folds and the settings of one experiment."""

    title: str
    out: Path
    cache: Path
    seed: int
    threads: int | None
    prepare: Mapping[str, Any]
    draw: Mapping[str, Any]
    recipe: Recipe
    folds: Sequence[Fold]
    settings: Sequence[Setting]
    limit: int | None

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    def case(self, fold: Fold, setting: Setting) -> Case:
        """Return what is measured on a fold in a setting."""
        models, methods = fold.folder / "models", tuple(self.recipe.methods)
        return Case(self.corpus, fold.episodes(setting), models, self.cache, methods, self.limit)

    @property
    def measured(self) -> list[tuple[Case, Path]]:
        """All cases, each with the file of its scores."""
        return [
            (self.case(fold, setting), fold.scores(setting))
            for fold in self.folds
            for setting in self.settings
        ]


def plan_file(file: Path, methods: Sequence[str] | None = None, limit: int | None = None) -> Plan:
    """Return the plan of an experiment's file, with this limit and these methods, if any, instead of its own.

    Raises UserError for what can be known to fail.
    """
    options = read_experiment(file)
    options["bench"] |= {"limit": limit} | ({"methods": methods} if methods else {})
    return make_plan(**options)


def make_plan(
    title: str,
    out: Path,
    cache: Path | None,
    seed: int,
    threads: int | None,
    folds: list[int] | Literal["all"] | None,
    sweep_k: list[int],
    modes: list[EnrollmentMode],
    encoder: str,
    prepare: Mapping[str, Any],
    draw: Mapping[str, Any],
    pretrain: Mapping[str, Any],
    meta_train: Mapping[str, Any],
    ablations: Mapping[str, Any],
    icl_train: Mapping[str, Any],
    bench: Mapping[str, Any],
) -> Plan:
    """Return the plan of an experiment's options. Raises UserError for what can be known to fail."""
    if prepare["corpus"] is None:
        raise UserError(
            f"prepare.corpus is missing: give it, or --config FILE.yaml with an experiment ({_files()}), "
            "or run `perser quickstart`"
        )
    # A simulated corpus has the experiment's seed; real recordings, and listeners simulated over them, do not
    # change with it.
    if prepare["corpus"] == "simulated" and prepare["seed"] is None:
        prepare = prepare | {"seed": seed}
    methods, meta_trainings = with_ablations(bench["methods"], meta_train, ablations)
    usual = Setting(draw["k"], draw["mode"])
    plan = Plan(
        title=title,
        out=out,
        cache=cache or out / "cache",
        seed=seed,
        threads=threads,
        prepare=prepare | {"out": out / "corpus"},
        draw=draw,
        recipe=Recipe(methods, encoder, pretrain, meta_trainings, icl_train),
        folds=plan_folds(folds, draw["split"], usual, out),
        settings=plan_settings(usual, sweep_k, modes),
        limit=bench["limit"],
    )
    check(plan)
    return plan


def check(plan: Plan) -> None:
    """Raise UserError for what can be known to fail before the first stage runs."""
    from meta_perser.options import PretrainOptions
    from meta_perser.scope import check_scope, check_window
    from perser.cli.prepare import check_prepare
    from perser.encoders.loading import check_encoder
    from perser.episodes.draw import check_counts
    from speechlm_icl.model.language_model import check_language_model
    from speechlm_icl.training.options import IclOptions

    recipe, draw, smallest = plan.recipe, plan.draw, min(setting.k for setting in plan.settings)
    counts = {f"draw.{name}": draw[name] for name in ("k", "q", "seeds", "validation_seeds")}
    check_counts(counts | {"sweep_k": smallest})
    for method in recipe.methods:
        check_method(method, smallest)
    trained_scope, window = recipe.pretrain["scope"], recipe.pretrain["frame_window"]
    check_scope(trained_scope)
    meta_scopes = [options["scope"] for options in recipe.meta_train.values()]
    for scope in (recipe.pretrain["lora"] or trained_scope, *meta_scopes):
        check_window(scope, trained_scope, window)
    check_prepare(**{name: value for name, value in plan.prepare.items() if name != "allow_skips"})
    check_encoder(recipe.encoder)
    _check_fields(PretrainOptions, "pretrain", recipe.pretrain)
    _check_fields(IclOptions, "icl_train", recipe.icl_train)
    if recipe.needs("speech-lm"):
        check_language_model(recipe.icl_train["language_model"], recipe.icl_train["lora"])


def _check_fields(training: type, stage: str, options: Mapping[str, Any]) -> None:
    """Raise UserError, which names the key, where the stage's own dataclass refuses its options."""
    known = {field.name for field in fields(training)}
    try:
        training(**{name: value for name, value in options.items() if name in known})
    except ValueError as error:
        raise UserError(f"{stage}.{error}") from error


def _files() -> str:
    """Return the names of the experiments' files; without a checkout, where they are."""
    names = [f"configs/{file.name}" for file in sorted(CONFIGS.glob("*.yaml"))]
    return ", ".join(name for name in names if "/bench_" not in name) or "see configs/ in perser's repository"
