"""perser experiment --config configs/NAME.yaml

A whole comparison from one file: prepare a corpus, draw episodes, train both routes, measure every method on
the same episodes. A finished stage is skipped on a rerun with the same options.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.experiment_options import add_arguments
from benchmarks.stages import Stages
from benchmarks.turns import Setting, Turn, plan_settings, plan_turns
from perser.cli import run_command
from perser.enrolment import EnrolmentMode
from perser.errors import UserError
from perser.folders import write_text_whole
from perser.personalizer import check_method

if TYPE_CHECKING:
    from benchmarks.models import Recipe

COMMAND = "command.txt"


def experiment(
    title: str,
    out: Path,
    cache: Path | None,
    seed: int,
    threads: int | None,
    turns: list[int] | Literal["all"] | None,
    sweep_k: list[int],
    modes: list[EnrolmentMode],
    encoder: str,
    prepare: dict[str, Any],
    draw: dict[str, Any],
    pretrain: dict[str, Any],
    meta_train: dict[str, Any],
    variants: dict[str, Any],
    icl_train: dict[str, Any],
    bench: dict[str, Any],
) -> None:
    """Run a whole comparison from one file: prepare, draw, train both routes, measure every method."""
    from benchmarks.models import Recipe
    from benchmarks.run import write_results
    from benchmarks.variants import with_variants
    from perser.prepare import prepare as run_prepare

    # A simulated corpus is the seed's; real recordings, and whoever is simulated over them, stay the same.
    if prepare["corpus"] == "simulated" and prepare["seed"] is None:
        prepare = prepare | {"seed": seed}
    prepare = prepare | {"out": out / "corpus"}
    methods, meta_trainings = with_variants(bench["methods"], meta_train, variants)
    usual = Setting(draw["k"], draw["mode"])
    settings = plan_settings(usual, sweep_k, modes)
    recipe = Recipe(methods, encoder, pretrain, meta_trainings, icl_train)
    check(recipe, prepare, draw, [one.k for one in settings])
    planned = plan_turns(turns, draw["split"], usual, out)
    fix_threads(threads)
    shared = {"corpus": out / "corpus", "cache": cache or out / "cache"}
    stages = Stages(out)
    stages.run("prepare", run_prepare, prepare, sources=("root",))
    for turn in planned:  # all of them before any is trained: what cannot be drawn is found out at once
        draw_turn(stages, turn, draw, settings, shared["corpus"])
    for turn in planned:
        run_turn(stages, turn, recipe, settings, shared, seed)
    write_results([turn.scores(one) for turn in planned for one in settings], out, title)
    write_text_whole(out / COMMAND, command_line() + "\n")
    stages.forget_others()
    show(out)


def draw_turn(
    stages: Stages, turn: Turn, draw: dict[str, Any], settings: Sequence[Setting], corpus: Path
) -> None:
    """One file of episodes for each setting; for all K the queries are the same, and the supports begin
    alike."""
    from perser.draw import episodes

    largest = max(one.k for one in settings)
    for one in settings:
        options = draw | {"corpus": corpus, "split": turn.split, "k": one.k, "mode": one.mode}
        options |= {"largest_k": largest, "out": turn.episodes(one)}
        stages.run(turn.stage("episodes", one), episodes, options, after=("prepare",))


def run_turn(
    stages: Stages,
    turn: Turn,
    recipe: Recipe,
    settings: Sequence[Setting],
    shared: dict[str, Any],
    seed: int,
) -> None:
    """Train what the methods need on this turn's split, and measure them in every setting."""
    from benchmarks.models import train
    from benchmarks.run import write_scores

    models = turn.folder / "models"
    given = shared | {"episodes": turn.episodes(turn.usual), "seed": seed}
    trained = train(recipe, stages, turn.prefix, models, given)
    for one in settings:
        measured = {"episodes": turn.episodes(one), "models": models, "methods": list(recipe.methods)}
        stages.run(
            turn.stage("bench", one),
            write_scores,
            shared | measured | {"out": turn.scores(one)},
            after=(turn.stage("episodes", one), *trained),
        )


def check(recipe: Recipe, prepare: dict[str, Any], draw: dict[str, Any], sizes: Sequence[int]) -> None:
    """What can be known to fail before the first stage runs. Raises UserError."""
    from meta_perser.pretrain import Pretraining
    from meta_perser.scope import check_scope, check_window
    from perser.encoder_loading import check_encoder
    from perser.episodes import check_counts
    from perser.prepare import check_prepare
    from speechlm_icl.language_model import check_language_model
    from speechlm_icl.train import IclTraining

    counts = {f"draw.{name}": draw[name] for name in ("k", "q", "seeds", "validation_seeds")}
    check_counts(counts | {"sweep_k": min(sizes)})
    for method in recipe.methods:
        check_method(method, min(sizes))
    trained_scope, window = recipe.pretrain["scope"], recipe.pretrain["frame_window"]
    check_scope(trained_scope)
    meta_scopes = [one["scope"] for one in recipe.meta_train.values()]
    for scope in (recipe.pretrain["lora"] or trained_scope, *meta_scopes):
        check_window(scope, trained_scope, window)
    check_prepare(**{name: value for name, value in prepare.items() if name != "allow_skips"})
    check_encoder(recipe.encoder)
    _check_fields(Pretraining, "pretrain", recipe.pretrain)
    _check_fields(IclTraining, "icl_train", recipe.icl_train)
    if recipe.needs("speech-lm"):
        check_language_model(recipe.icl_train["language_model"], recipe.icl_train["lora"])


def _check_fields(training: type, stage: str, options: Mapping[str, Any]) -> None:
    """Raises UserError that names the key where the stage's own dataclass refuses its options."""
    known = {one.name for one in fields(training)}
    try:
        training(**{name: value for name, value in options.items() if name in known})
    except ValueError as error:
        raise UserError(f"{stage}.{error}") from error


def fix_threads(threads: int | None) -> None:
    """Sums in floating point depend on how many threads share them: with the number fixed, a seed gives the
    same figures on a machine whatever the environment says."""
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"threads: {threads}, give at least 1, or null for the machine's own number")
    import torch

    torch.set_num_threads(threads)


experiment.add_arguments = add_arguments


def show(out: Path) -> None:
    """Print the table of a finished run and where its report lies."""
    from benchmarks.report import print_table

    print_table(json.loads((out / "results.json").read_text(encoding="utf-8")))
    for name in ("results.json", "report.md", "report.html", "plots"):
        print(f"  {out / name}")


def command_line() -> str:
    """The command that started this process, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    run_command(experiment)
