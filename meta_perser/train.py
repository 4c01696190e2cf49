"""python -m meta_perser.train --corpus DIR --episodes episodes.json --ssl_e ssl-e --out meta-perser

Meta-training (Meta-PerSER 2.3.4): for each sampled listener an inner loop on K of their examples, and an
outer loss on the same combined set, with gradients through the inner loop to the weights and the rates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from meta_perser.adaptation.adaptation_loss import WeightedLoss
from meta_perser.adaptation.meta_trained import RATES_FILE
from meta_perser.adaptation.step_schedule import describe_annealing
from meta_perser.options import (
    AnnealingOptions,
    Init,
    InnerOptions,
    LslrOptions,
    MultiStepOptions,
    OuterOptions,
    check_rates,
    check_standardization,
)
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from meta_perser.scope import check_scope, check_solver
from meta_perser.training.best_and_last import BestAndLast
from meta_perser.training.initialization import adjustment, initial_meta_perser
from meta_perser.training.outer_loop import OuterLoop
from meta_perser.training.tuning import FRESH_RATES, Tuner
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.corpora.joined import person_weights
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from perser.training.options import Criterion, RunOptions
from perser.training.run import open_training_run
from perser.training.run_folder import check_training_outputs, running_folder


def meta_train(
    corpus: Path,
    episodes: Path,
    ssl_e: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    scope: str = "all",
    init: Init = "ssl-e",
    csmt: bool = True,
    derivative_annealing: AnnealingOptions = AnnealingOptions(),
    lslr: LslrOptions = LslrOptions(),
    multi_step_loss: MultiStepOptions = MultiStepOptions(),
    inner: InnerOptions = InnerOptions(),
    outer: OuterOptions = OuterOptions(),
    mixed_precision: Literal["no", "bf16"] = "no",
    selection: Criterion = "log_loss",
    seed: int = 0,
    resume: bool = True,
    run: RunOptions = RunOptions(),
) -> None:
    """Meta-train Meta-PerSER from SSL-E, so that a few gradient steps adapt it to one listener.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file; its training persons are the tasks, and its validation episodes choose
            the best step.
        ssl_e: the folder that `perser pretrain` wrote.
        out: folder for the best meta-trained recognizer and its rates, with the last ones in `last`. Until
            training ends, both are in OUT-running, as `best` and `last`, written anew at every validation.
        cache: folder of the feature cache.
        scope: what adapts: all (trunk and head), top_layers:N, lora:R:N (adapters and head), head or linears
            (without the layer weights).
        init: what meta-training starts from (INI): ssl-e, or the plain encoder that SSL-E began from, with a
            fresh head. A fresh head has an outer learning rate of its own (outer.head_learning_rate), and an
            inner one, which is chosen on the validation episodes where inner.rate is none.
        csmt: whether the outer loss is computed on the examples that the inner loop learned from
            (combined-set meta-training); false: on further examples of the listener, as in classic MAML.
        derivative_annealing: first-order gradients early, second-order ones after (DA).
        lslr: learned learning rates per layer and step (LSLR).
        multi_step_loss: an outer loss after every inner step (MAML++).
        inner: the inner loop.
        outer: the outer loop.
        mixed_precision: precision of the recognizer in meta-training. With bf16 its adapting weights, its
            rates and the loss stay in float32, and so does all of meta-testing.
        selection: what chooses the best step on the validation episodes, after adaptation: log_loss, or maF1
            (macro-F1 at p > 1/C).
        seed: seed of the sampled persons and examples.
        resume: go on from the newest checkpoint in OUT-running, if the same training was stopped there.
        run: checkpoints, the limit of bad steps, and the tracker.

    Examples:
        perser meta-train --corpus runs/mine/corpus --episodes runs/mine/episodes.json
            --ssl_e runs/mine/models/ssl-e --out runs/mine/models/meta-perser
    """
    check_scope(scope)
    check_rates(inner, outer, lslr)
    loop = OuterLoop(
        inner,
        outer,
        csmt,
        derivative_annealing,
        multi_step_loss,
        seed,
        selection,
        fresh_head=init == "encoder",
    )
    check_solver(inner.solver, scope)
    if out.resolve() == ssl_e.resolve():
        raise UserError(f"out: {out} is the folder of SSL-E, which is still needed: give another one")
    check_training_outputs(out, RATES_FILE, cache)
    begun_from = saved_settings(ssl_e)
    check_standardization(begun_from.get("standardize"), scope)
    accelerator = start_accelerator(seed, mixed_precision)
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    tasks = drawn.training_tasks(prepared)
    loop.check(tasks)
    if begun_from.get("trained_on") != drawn.training_digest:
        raise UserError(f"{ssl_e} was trained on another split than {episodes}: train it with this one")
    adjust = adjustment(begun_from.get("standardize"), prepared, tasks)

    def tune_fresh_head(model: EmotionRecognizer, loss: WeightedLoss) -> float:
        steps = inner.adaptation_steps
        tuner = Tuner(prepared, cache, loss, steps, drawn.validation_episodes, selection, adjust)
        return float(tuner.fine_tuning(model, "head", FRESH_RATES)["rate"])

    trained = initial_meta_perser(
        ssl_e,
        init,
        scope,
        inner,
        lslr,
        tasks,
        prepared.recordings,
        cache,
        accelerator.device,
        tune_fresh_head,
        adjust,
    )
    source = ClipSource(prepared.recordings, trained.model, cache, adjust)
    training = {"loop": loop, "scope": scope, "init": init, "lslr": lslr, "mixed_precision": mixed_precision}
    training |= {"begun_from": trained.model.fingerprint(), "ssl_e": begun_from}
    trained_on = drawn.trained_on(prepared, [ssl_e])
    training_run = open_training_run(
        "meta-train", out, prepared, episodes, accelerator, run, resume, trained_on, **training
    )
    models = BestAndLast(
        trained, running_folder(out), drawn.training_digest, _switches(loop, init), selection
    )
    weights = person_weights(prepared, [task.person for task in tasks])
    chosen_on = drawn.validation_episodes
    loop.train(trained, source, tasks, chosen_on, accelerator, models.save, training_run, weights)
    if accelerator.is_main_process:
        with training_run.finished(out, RATES_FILE) as folder:
            models.copy_to(folder)


def _switches(loop: OuterLoop, init: Init) -> dict[str, object]:
    """Return which parts of the method are on, as the rows of reports say it."""
    annealing = describe_annealing(loop.derivative_annealing, loop.inner.steps, loop.outer.steps)
    switches: dict[str, object] = {"INI": init == "ssl-e", "CSMT": loop.csmt, "DA": annealing}
    if loop.outer.update != "maml":
        switches["outer update"] = loop.outer.update
    if loop.outer.f1_weight:
        switches["F1 weight"] = f"{loop.outer.f1_weight:g}"
    if loop.inner.moves != "scope":
        switches["inner loop moves"] = loop.inner.moves
    return switches


COMMAND = Command(meta_train, processes=True)

if __name__ == "__main__":
    run_command(COMMAND)
