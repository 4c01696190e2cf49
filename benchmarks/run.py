"""perser bench --config configs/bench_quickstart.yaml
perser bench --corpus DIR --episodes episodes.json --models DIR --out DIR

Measure every method on the same episodes: personalize to each support, predict each query, score, compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.experiments.plan import check_trained_alike, plan_file
from benchmarks.experiments.run_plan import run_stages
from benchmarks.installed import at_endpoint, show_list, standardized_methods
from benchmarks.measuring.cells import Case
from benchmarks.measuring.inspect_episode import show_episode
from benchmarks.measuring.measure import SCORES, write_scores
from benchmarks.results import show, write_results
from benchmarks.trivial_baselines import METHODS, for_supports_of
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.distributed import processes
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.installed_routes import learns_labels, parse_method
from perser.io.files import check_outputs


def bench(
    corpus: Path | None = None,
    episodes: list[Path] | Path | None = None,
    models: Path | None = None,
    experiments: list[Path] | None = None,
    out: Path = Path("runs/bench"),
    cache: Path = Path("runs/cache"),
    methods: list[str] | None = None,
    limit: int | None = None,
    train_seeds: list[int] | None = None,
    standardize: Literal["model", "corpus", "enrolled"] = "model",
    endpoint: str | None = None,
    resume: bool = True,
    rerun_one: str | None = None,
    title: str = "Personalized speech emotion recognition",
) -> None:
    """Measure methods on the same episodes and write predictions, scores, results, a report and plots.

    Either of trained models on files of episodes (corpus, episodes, models), or of whole experiments, whose
    unfinished stages are run first. What was measured before is not measured again.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file, or several of one split: several K, several modes of enrollment.
        models: the folder of the trained models, such as ssl-e; not needed where no method has a model.
        experiments: files for `perser experiment`, each trained and measured in its own folder.
        out: folder for predictions, scores.json, results.json, report.md, report.html and plots.
        cache: folder of the feature cache.
        methods: which methods, by name; speech-lm-N reads N enrollment pairs, meta-perser:NAME uses the model
            in the subfolder meta-perser-NAME; none: each experiment's own, or the usual ones (`--list`).
        limit: measure only so many episodes of each file, for a quick look; none: all.
        train_seeds: seeds that each experiment's models are trained with; none: what its file says.
        standardize: by which clips features are standardized: those of the models' training, all of the
            corpus (without labels), or those that a person enrolls; experiments have bench.standardize.
        endpoint: where the models of audio-llm are: the address of an OpenAI-compatible server, or a JSON
            file with it, its limits and its prices; the variable PERSER_ENDPOINT_KEY holds the key.
        resume: keep what was measured before and measure the rest; false: measure everything again.
        rerun_one: an episode's id: answer it again, and show what each method says about each utterance.
        title: the heading of the report.

    Examples:
        perser bench --config configs/bench_quickstart.yaml
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit: {limit}, give at least 1 episode")
    check_outputs(folders={"out": out, "cache": cache})
    plans = [plan_file(file, methods, limit, train_seeds) for file in experiments or ()]
    asked = at_endpoint(methods, endpoint)
    named = None if asked is None else _known(asked)
    inputs = {"--corpus": corpus, "--episodes": episodes, "--models": models}
    _check_inputs(inputs, bool(plans), named, train_seeds)
    files = [episodes] if isinstance(episodes, Path) else episodes or []
    folder = models or out / "models"  # where no method needs a model, nothing is there
    cases = [
        Case(corpus, file, folder, cache, _names(named, file, standardize), limit)
        for file in files
        if corpus is not None  # as checked
    ]
    trained = [(case, out / _scores_name(case.episodes, files)) for case in cases]
    measured = trained + [pair for plan in plans for pair in plan.measured]
    if rerun_one:
        show_episode(rerun_one, measured)
        return
    for case, _ in trained:
        case.check_models()
    check_trained_alike(plans)
    for plan in plans:
        run_stages(plan, again=not resume)
    for case, scores in trained:
        write_scores(case, scores, resume)
    if processes().is_main_process:
        write_results([scores for _, scores in measured], out, title, [case.corpus for case, _ in measured])
        show(out)


COMMAND = Command(bench, switches={"list": show_list})


def _names(methods: Sequence[str] | None, episodes: Path, standardize: str) -> tuple[str, ...]:
    """Return the methods to measure on a file of episodes: those given, or the usual ones."""
    if methods:
        return tuple(standardized_methods(methods, standardize))
    drawn = EpisodeFile.load(episodes)
    usual = [name for name in METHODS if not drawn.is_open or learns_labels(name)]
    return tuple(standardized_methods(for_supports_of(drawn.k, usual), standardize))


def _known(methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods' names. Raises UserError for an unknown one, before a corpus is loaded."""
    for name in methods:
        parse_method(name)
    return tuple(methods)


def _check_inputs(
    inputs: Mapping[str, Any],
    has_plans: bool,
    methods: Sequence[str] | None,
    train_seeds: Sequence[int] | None,
) -> None:
    """Raise UserError for inputs beside experiments, and without these for inputs that are missing.

    Methods that have no model need no models.
    """
    if train_seeds and not has_plans:
        raise UserError("--train_seeds: nothing is trained here; give --experiments, whose models are")
    if has_plans and any(inputs.values()):
        raise UserError("--experiments have their own corpora, episodes and models: leave yours out")
    parsed = [parse_method(name) for name in methods or ()]
    needs_models = not parsed or any(each.route.needs.get(each.method) for each in parsed)
    missing = [name for name, value in inputs.items() if not value and (needs_models or name != "--models")]
    if missing and not has_plans:
        raise UserError(f"no {', '.join(missing)}: say what to measure, or give --experiments")


def _scores_name(episodes: Path, files: Sequence[Path]) -> str:
    """Return the name of the file of scores; if there are several, it has the episodes' name in it."""
    if len(files) == 1:
        return SCORES
    return f"scores-{episodes.stem.removeprefix('episodes').strip('-') or 'usual'}.json"


if __name__ == "__main__":
    run_command(COMMAND)
