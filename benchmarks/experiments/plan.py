"""What a file for `perser experiment` comes to, checked before the first stage runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from benchmarks.experiments.ablations import with_ablations
from benchmarks.experiments.folds import Setting, Turn, plan_settings, plan_turns
from benchmarks.experiments.train_models import Recipe, check_trainings, planned_models, trained_methods
from benchmarks.measuring.cells import Case
from perser.episodes.sampling import EnrollmentMode
from perser.errors import UserError
from perser.installed_routes import check_method


def check_trained_alike(plans: Sequence[Plan]) -> None:
    """Raises UserError where two experiments train the models of the same methods on the same split in
    different ways: one row cannot speak of both."""
    for first, second in combinations(plans, 2):
        shared = trained_methods({*first.recipe.methods} & {*second.recipe.methods})
        if not (shared and _split(first) == _split(second) and {*first.settings} & {*second.settings}):
            continue
        stages = [("seed", first.seed, second.seed)]
        others = {model.folder: model for model in planned_models(second.recipe, shared)}
        for model in planned_models(first.recipe, shared):
            stages.append((model.name, model.options, others[model.folder].options))
        for name, one, other in stages:
            if one != other:
                raise UserError(
                    f"{first.out} and {second.out} train {', '.join(shared)} on the same split, with "
                    f"another {name}: bench them apart"
                )


def _split(plan: Plan) -> list[object]:
    prepare = {name: value for name, value in plan.prepare.items() if name != "out"}
    return [prepare, plan.recipe.encoder, [turn.split for turn in plan.turns]]


@dataclass(frozen=True)
class Plan:
    """The stages' options, the turns and the settings of one experiment."""

    title: str
    out: Path
    cache: Path
    seed: int
    threads: int | None
    prepare: Mapping[str, Any]
    draw: Mapping[str, Any]
    recipe: Recipe
    turns: Sequence[Turn]
    settings: Sequence[Setting]
    limit: int | None

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    def case(self, turn: Turn, setting: Setting) -> Case:
        """What is measured of a turn in a setting."""
        models, methods = turn.folder / "models", tuple(self.recipe.methods)
        return Case(self.corpus, turn.episodes(setting), models, self.cache, methods, self.limit)

    @property
    def measured(self) -> list[tuple[Case, Path]]:
        """All cases, each with the file of its scores."""
        return [(self.case(turn, one), turn.scores(one)) for turn in self.turns for one in self.settings]


def make_plan(
    title: str,
    out: Path,
    cache: Path | None,
    seed: int,
    threads: int | None,
    turns: list[int] | Literal["all"] | None,
    sweep_k: list[int],
    modes: list[EnrollmentMode],
    encoder: str,
    prepare: Mapping[str, Any],
    draw: Mapping[str, Any],
    ablations: Mapping[str, Any],
    bench: Mapping[str, Any],
    **trainings: Mapping[str, Any],
) -> Plan:
    """The plan of these keys of an experiment's file; `trainings` are the options of the routes' trainings,
    by key. Raises UserError for what can be known to fail."""
    # A simulated corpus is the seed's; real recordings, and whoever is simulated over them, stay the same.
    if prepare["corpus"] == "simulated" and prepare["seed"] is None:
        prepare = prepare | {"seed": seed}
    methods, meta_trainings = with_ablations(bench["methods"], trainings["meta_train"], ablations)
    usual = Setting(draw["k"], draw["mode"])
    plan = Plan(
        title=title,
        out=out,
        cache=cache or out / "cache",
        seed=seed,
        threads=threads,
        prepare=prepare | {"out": out / "corpus"},
        draw=draw,
        recipe=Recipe(methods, encoder, trainings, meta_trainings),
        turns=plan_turns(turns, draw["split"], usual, out),
        settings=plan_settings(usual, sweep_k, modes),
        limit=bench["limit"],
    )
    check(plan)
    return plan


def check(plan: Plan) -> None:
    """What can be known to fail before the first stage runs. Raises UserError."""
    from perser.cli.prepare import check_prepare
    from perser.encoders.loading import check_encoder
    from perser.episodes.draw import check_counts

    recipe, draw, smallest = plan.recipe, plan.draw, min(one.k for one in plan.settings)
    counts = {f"draw.{name}": draw[name] for name in ("k", "q", "seeds", "validation_seeds")}
    check_counts(counts | {"sweep_k": smallest})
    for method in recipe.methods:
        check_method(method, smallest)
    check_prepare(**{name: value for name, value in plan.prepare.items() if name != "allow_skips"})
    check_encoder(recipe.encoder)
    check_trainings(recipe)
