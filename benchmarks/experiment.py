"""perser experiment --config configs/NAME.yaml

A whole comparison from one file: prepare a corpus, draw episodes, train both routes, measure every method on
the same episodes. A finished stage is skipped on a rerun with the same options.
"""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiment_options import add_arguments
from benchmarks.stages import Stages
from perser.cli import run_command
from perser.errors import UserError
from perser.folders import write_text_whole

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.turns import Turn

COMMAND = "command.txt"


def experiment(**keys: Any) -> None:
    """Run a whole comparison from one file: prepare, draw, train both routes, measure every method.

    `keys`: those of `benchmarks.plan.make_plan`.
    """
    from benchmarks.measure import write_results
    from benchmarks.plan import make_plan
    from perser.processes import processes

    plan = make_plan(**keys)
    run_stages(plan).forget_others()
    if processes().is_main_process:
        write_results([scores for _, scores in plan.measured], plan.out, plan.title)
        write_text_whole(plan.out / COMMAND, command_line() + "\n")
        show(plan.out)


def run_stages(plan: Plan, again: bool = False) -> Stages:
    """Prepare, draw, train and measure what has not been; with `again`, every cell is measured anew. Gives
    the stages as they ended."""
    from perser.prepare import prepare

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
    from perser.draw import episodes

    largest = max(one.k for one in plan.settings)
    for one in plan.settings:
        options = plan.draw | {"corpus": plan.corpus, "split": turn.split, "k": one.k, "mode": one.mode}
        options |= {"largest_k": largest, "out": turn.episodes(one)}
        stages.run(turn.stage("episodes", one), episodes, options, after=("prepare",), alone=True)


def run_turn(stages: Stages, plan: Plan, turn: Turn, again: bool) -> None:
    """Train what the methods need on this turn's split, and measure them in every setting."""
    from benchmarks.measure import write_scores
    from benchmarks.models import train

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


experiment.add_arguments = add_arguments


def show(out: Path) -> None:
    """Print the table of a finished run and where its report lies."""
    from benchmarks.reporting.report import print_table

    print_table(json.loads((out / "results.json").read_text(encoding="utf-8")))
    for name in ("results.json", "report.md", "report.html", "paper_tables.html", "plots", "tables"):
        if (out / name).exists():
            print(f"  {out / name}")


def command_line() -> str:
    """The command that started this process, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    run_command(experiment)
