"""perser experiment --config configs/NAME.yaml

Run a whole comparison from one file: prepare a corpus, draw episodes, train both routes, measure every method
on the same episodes. Stages that were finished with the same options are skipped.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.experiments.options import add_arguments
from benchmarks.experiments.run_plan import run_stages
from benchmarks.results import show
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.io.files import write_text_atomic

COMMAND_FILE = "command.txt"


def experiment(**options: Any) -> None:
    """Run a whole comparison from one file: prepare, draw, train both routes, measure every method.

    `options`: the arguments of `benchmarks.experiments.plan.make_plan`.

    Examples:
        perser experiment --config configs/quickstart.yaml
    """
    from benchmarks.experiments.plan import make_plan
    from benchmarks.results import write_results
    from perser.distributed import processes

    plan = make_plan(**options)
    corpora = [case.corpus for case, _ in plan.measured]
    meanwhile = {"what the annotations say": partial(_measure_ceilings, corpora, plan.out)}
    run_stages(plan, meanwhile=meanwhile).forget_others()
    if processes().is_main_process:
        write_results([scores for _, scores in plan.measured], plan.out, plan.title, corpora)
        write_text_atomic(plan.out / COMMAND_FILE, command_line() + "\n")
        show(plan.out)


def _measure_ceilings(corpora: Sequence[Path], out: Path) -> None:
    """Save what the annotations say, which the report reads (`measure_corpora`)."""
    from benchmarks.ceiling.measure import measure_corpora
    from perser.distributed import processes

    if processes().is_main_process:
        measure_corpora(corpora, out)


COMMAND = Command(experiment, add_arguments=add_arguments)


def command_line() -> str:
    """Return the command that started this process, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    run_command(COMMAND)
