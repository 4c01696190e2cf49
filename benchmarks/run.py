"""perser bench --config configs/bench_quickstart.yaml
perser bench --corpus DIR --episodes episodes.json --models DIR --out DIR

Every method on the same episodes: personalize to each support, predict each query, score, compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment import experiment
from benchmarks.experiments.plan import Plan, check_trained_alike, make_plan
from benchmarks.experiments.run_plan import run_stages
from benchmarks.listing import show_list
from benchmarks.measuring.cells import Case
from benchmarks.measuring.inspect_episode import show_episode
from benchmarks.measuring.measure import SCORES, write_scores
from benchmarks.results import show, write_results
from benchmarks.trivial_baselines import METHODS
from perser.cli.main import parse_command, run_command
from perser.distributed import processes
from perser.errors import UserError


def bench(
    corpus: Path | None = None,
    episodes: list[Path] | Path | None = None,
    models: Path | None = None,
    experiments: list[Path] | None = None,
    out: Path = Path("runs/bench"),
    cache: Path = Path("runs/cache"),
    methods: list[str] | None = None,
    limit: int | None = None,
    resume: bool = True,
    rerun_one: str | None = None,
    title: str = "Personalized speech emotion recognition",
) -> None:
    """Measure methods on the same episodes and write predictions, scores, results, a report and plots.

    Of trained models on files of episodes (corpus, episodes, models), or of whole experiments, whose stages
    are run first where they have not been. What was measured before is not measured again.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file, or several of one split: several K, several modes of enrollment.
        models: the folder that holds what was trained: ssl-e, linear, multi, meta-perser, speech-lm.
        experiments: files for `perser experiment`, each trained and measured in its own folder.
        out: folder for predictions, scores.json, results.json, report.md, report.html and plots.
        cache: folder of the feature cache.
        methods: which methods, by name; speech-lm-N reads N enrollment pairs, meta-perser:V stands on
            the model in the subfolder meta-perser-V; none: the quickstart's, or each experiment's own.
        limit: measure so many episodes of each file alone, to see whether all is well; none: all.
        resume: whether cells (a method on the episodes of a seed) that were measured before are kept.
        rerun_one: an episode's id: answer it again, and show what each method says to each utterance.
        title: heads the report.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit: {limit}, give at least 1 episode")
    plans = [_planned(one, methods, limit) for one in experiments or ()]
    given = {"--corpus": corpus, "--episodes": episodes, "--models": models}
    if plans and any(given.values()):
        raise UserError("--experiments have corpora, episodes and models of their own: leave yours out")
    if not plans and (missing := [name for name, one in given.items() if not one]):
        raise UserError(f"no {', '.join(missing)}: say what to measure, or give --experiments")
    files = [episodes] if isinstance(episodes, Path) else episodes or []
    named = tuple(methods or METHODS)
    trained = [
        (Case(corpus, one, models, cache, named, limit), out / _scores_of(one, files)) for one in files
    ]
    measured = trained + [one for plan in plans for one in plan.measured]
    if rerun_one:
        show_episode(rerun_one, measured)
        return
    check_trained_alike(plans)
    for plan in plans:
        run_stages(plan, again=not resume)
    for case, scores in trained:
        write_scores(case, scores, resume)
    if processes().is_main_process:
        write_results([scores for _, scores in measured], out, title)
        show(out)


bench.instead = {"list": show_list}  # found by `perser.cli`: `perser bench --list`


def _planned(file: Path, methods: Sequence[str] | None, limit: int | None) -> Plan:
    """The plan of an experiment's file, with these methods and this limit instead of its own."""
    keys = parse_command(experiment, ["--config", str(file)])
    keys["bench"] |= {"limit": limit} | ({"methods": methods} if methods else {})
    return make_plan(**keys)


def _scores_of(episodes: Path, among: Sequence[Path]) -> str:
    """The name of the file of scores: after its episodes where there are several."""
    if len(among) == 1:
        return SCORES
    return f"scores-{episodes.stem.removeprefix('episodes').strip('-') or 'usual'}.json"


if __name__ == "__main__":
    run_command(bench)
