"""Run the stages of an experiment's plan: prepare, draw, train, measure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.experiments.joined_corpora import prepare_joined
from benchmarks.experiments.run_other_corpora import check_before_work, measure_others, prepare_others
from benchmarks.experiments.stages import Stages
from perser.adjustments.blas_threads import limit_blas_threads
from perser.errors import UserError

if TYPE_CHECKING:
    from benchmarks.experiments.folds import Fold, TrainedFold
    from benchmarks.experiments.plan import Plan
    from benchmarks.experiments.train_models import Work


def run_stages(plan: Plan, again: bool = False, meanwhile: Work | None = None) -> Stages:
    """Run the stages that are not finished; with `again`, measure every cell anew. Return the stages.

    `meanwhile`: other work for a process that is free while the first models are trained.
    """
    from benchmarks.experiments.train_models import check_on_episodes
    from perser.cli.prepare import prepare
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile

    fix_threads(plan.threads)
    check_before_work(plan)
    stages = Stages(plan.out)
    if plan.joined:
        prepare_joined(stages, plan.joined, plan.corpus, changed_recordings)
    else:
        stages.run(
            "prepare",
            prepare,
            plan.prepare,
            sources=("root",),
            alone=True,
            outdated=partial(changed_recordings, plan.corpus),
        )
    for (
        fold
    ) in plan.folds:  # all of them before any training, so that a fold that cannot be drawn fails early
        draw_fold(stages, plan, fold)
    prepare_others(stages, plan)
    corpus = Corpus.load(plan.corpus)
    for fold in plan.folds:
        check_on_episodes(plan.recipe, corpus, EpisodeFile.load(fold.episodes(fold.usual)))
    first, *others = plan.folds
    trained = run_fold(stages, plan, first, again, meanwhile)
    measure_others(stages, plan, trained, again)
    for fold in others:
        run_fold(stages, plan, fold, again)
    return stages


def changed_recordings(corpus: Path) -> str:
    """Return which recordings of a prepared corpus have changed since; empty where none has."""
    from perser.corpora.corpus import Corpus

    recordings = Corpus.load(corpus, check_files=False).recordings
    try:
        recordings.check_files()
    except UserError as error:
        return str(error).partition(": put the files back")[0]
    return ""


def draw_fold(stages: Stages, plan: Plan, fold: Fold) -> None:
    """Draw a file of episodes for each setting. For all K the queries are the same, and a smaller support is
    the beginning of a larger one."""
    from perser.cli.episodes import episodes

    largest = max(setting.k for setting in plan.settings)
    for setting in plan.settings:
        options = {
            **plan.draw,
            "corpus": plan.corpus,
            "split": fold.split,
            "k": setting.k,
            "mode": setting.mode,
        }
        options |= {"largest_k": largest, "out": fold.episodes(setting)}
        stages.run(fold.stage("episodes", setting), episodes, options, after=("prepare",), alone=True)


def run_fold(
    stages: Stages,
    plan: Plan,
    fold: Fold,
    again: bool,
    meanwhile: Work | None = None,
) -> tuple[str, ...]:
    """Train what the methods need on this fold's split, with each training seed, and measure them in every
    setting.

    Return the names of the stages that trained with the first seed.
    """
    done = [
        run_training(stages, plan, trained, again, meanwhile if number == 0 else None)
        for number, trained in enumerate(plan.trainings(fold))
    ]
    return done[0]


def run_training(
    stages: Stages,
    plan: Plan,
    trained: TrainedFold,
    again: bool,
    meanwhile: Work | None,
) -> tuple[str, ...]:
    """Train what the methods need with one seed, and measure them in every setting; return the stages that
    trained.

    With workers, a process that has nothing to train measures methods whose models are there.
    """
    from benchmarks.experiments.train_models import train
    from benchmarks.measuring.cells import cells_of_trained
    from benchmarks.measuring.measure import predictions_of, write_scores
    from perser.distributed import is_alone_on_cpu

    fold = trained.fold
    shared = {"corpus": plan.corpus, "cache": plan.cache, "seed": trained.seed}
    shared |= {"episodes": fold.episodes(fold.usual)}
    drawn = ("prepare", fold.stage("episodes", fold.usual))
    cases = {setting: plan.case(trained, setting) for setting in plan.settings}

    def beside_training(models: Sequence[str]) -> Work:
        if not models:
            return meanwhile or {}
        if again or not plan.workers or not is_alone_on_cpu():
            return {}
        return {
            trained.stage(title, setting): measure
            for setting, case in cases.items()
            for title, measure in cells_of_trained(
                case, predictions_of(trained.scores(setting), case.limit), models
            ).items()
        }

    done = train(
        plan.recipe, stages, trained.prefix, trained.models, shared, drawn, plan.workers, beside_training
    )
    seed = {"train_seed": trained.seed} if plan.train_seeds else {}
    for setting in plan.settings:
        stages.run(
            trained.stage("bench", setting),
            partial(write_scores, resume=not again, workers=plan.workers),
            {"case": cases[setting], "out": trained.scores(setting), **seed},
            after=(fold.stage("episodes", setting), *done),
            again=again,
        )
    return done


def fix_threads(threads: int | None) -> None:
    """Fix the number of CPU threads, so that a seed gives the same figures in every environment: sums in
    floating point depend on how many threads share them. Raises UserError for less than 1."""
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"threads: {threads}, give at least 1, or null for the machine's own number")
    import torch

    torch.set_num_threads(threads)
    limit_blas_threads(threads)
