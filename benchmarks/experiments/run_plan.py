"""TODO(reorg): docstring."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.experiments.stages import Stages
from perser.errors import UserError

if TYPE_CHECKING:
    from benchmarks.experiments.folds import Turn
    from benchmarks.experiments.plan import Plan


def run_stages(plan: Plan, again: bool = False) -> Stages:
    """Prepare, draw, train and measure what has not been; with `again`, every cell is measured anew. Gives
    the stages as they ended."""
    from perser.cli.prepare import prepare

    fix_threads(plan.threads)
    stages = Stages(plan.out)
    stages.run("prepare", prepare, plan.prepare, sources=("root",), alone=True)
    for turn in plan.turns:  # all of them before any is trained: what cannot be drawn is found out at once
        draw_turn(stages, plan, turn)
    for turn in plan.turns:
        run_turn(stages, plan, turn, again)
    return stages


def draw_turn(stages: Stages, plan: Plan, turn: Turn) -> None:
    """One file of episodes for each setting; for all K the queries are the same, and the supports begin
    alike."""
    from perser.cli.episodes import episodes

    largest = max(one.k for one in plan.settings)
    for one in plan.settings:
        options = plan.draw | {"corpus": plan.corpus, "split": turn.split, "k": one.k, "mode": one.mode}
        options |= {"largest_k": largest, "out": turn.episodes(one)}
        stages.run(turn.stage("episodes", one), episodes, options, after=("prepare",), alone=True)


def run_turn(stages: Stages, plan: Plan, turn: Turn, again: bool) -> None:
    """Train what the methods need on this turn's split, and measure them in every setting."""
    from benchmarks.experiments.train_models import train
    from benchmarks.measuring.measure import write_scores

    given = {"corpus": plan.corpus, "cache": plan.cache, "seed": plan.seed}
    given |= {"episodes": turn.episodes(turn.usual)}
    trained = train(plan.recipe, stages, turn.prefix, turn.folder / "models", given)
    for one in plan.settings:
        stages.run(
            turn.stage("bench", one),
            partial(write_scores, resume=not again),
            {"case": plan.case(turn, one), "out": turn.scores(one)},
            after=(turn.stage("episodes", one), *trained),
            again=again,
        )


def fix_threads(threads: int | None) -> None:
    """Sums in floating point depend on how many threads share them: with the number fixed, a seed gives the
    same figures on a machine whatever the environment says."""
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"threads: {threads}, give at least 1, or null for the machine's own number")
    import torch

    torch.set_num_threads(threads)
