"""perser experiment --config configs/NAME.yaml

A whole comparison from one file: prepare a corpus, draw episodes, train both routes, measure every method on
the same episodes. A finished stage is skipped on a rerun with the same options.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.stages import Stages
from perser.cli import run_command
from perser.errors import UserError
from perser.folders import write_text_whole
from perser.personalizer import check_method

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMAND = "command.txt"
QUICKSTART_OUT = Path("runs/quickstart")
QUICKSTART = {
    "prepare.corpus": "simulated",
    "draw.q": 64,
    "draw.seeds": 2,
    "draw.split.validation_groups": 5,
    "pretrain.epochs": 12,
    "pretrain.batch_size": 16,
    "pretrain.learning_rate": 2e-3,
    "meta_train.scope": "head",
    "meta_train.inner.steps": 50,
    "meta_train.inner.rate": 0.005,
    "meta_train.outer.iterations": 60,
    "meta_train.outer.rates_learning_rate": 1e-4,
    "meta_train.outer.validate_every": 20,
    "icl_train.steps": 200,
    "icl_train.projector.feature_noise": 0.3,
}
"""What the embedded default sets apart from the stages' own defaults: minutes on two CPU cores."""
GIVEN = {"corpus", "episodes", "out", "cache", "ssl_e", "encoder", "models", "seed", "target", "title"}
"""Arguments of the stages that the experiment itself fills in."""


def experiment(
    title: str,
    out: Path,
    cache: Path | None,
    seed: int,
    threads: int | None,
    encoder: str,
    prepare: dict[str, Any],
    draw: dict[str, Any],
    pretrain: dict[str, Any],
    meta_train: dict[str, Any],
    icl_train: dict[str, Any],
    bench: dict[str, Any],
) -> None:
    """Run a whole comparison from one file: prepare, draw, train both routes, measure every method."""
    from benchmarks.run import bench as run_bench
    from perser.draw import episodes as run_draw
    from perser.prepare import prepare as run_prepare

    corpus, episodes, models = out / "corpus", out / "episodes.json", out / "models"
    cache = cache or out / "cache"
    training = {"corpus": corpus, "episodes": episodes, "cache": cache, "seed": seed}
    # A simulated corpus is the seed's; real recordings, and whoever is simulated over them, stay the same.
    if prepare["corpus"] == "simulated" and prepare["seed"] is None:
        prepare = prepare | {"seed": seed}
    prepare = prepare | {"out": corpus}
    check(encoder, (pretrain["scope"], meta_train["scope"]), prepare, draw, icl_train, bench)
    fix_threads(threads)
    stages = Stages(out)
    stages.run("prepare", run_prepare, prepare, sources=("root",))
    stages.run("episodes", run_draw, draw | {"corpus": corpus, "out": episodes}, after=("prepare",))
    trained = train(
        stages,
        models,
        pretrain | training | {"encoder": encoder},
        meta_train | training,
        icl_train | training,
        bench["methods"],
    )
    measured = {
        "corpus": corpus,
        "episodes": episodes,
        "models": models,
        "cache": cache,
        "out": out,
        "title": title,
    }
    stages.run("bench", run_bench, bench | measured, made=out / "results.json", after=trained)
    write_text_whole(out / COMMAND, command_line() + "\n")
    show(out)


def train(
    stages: Stages,
    models: Path,
    pretrain: dict[str, Any],
    meta_train: dict[str, Any],
    icl_train: dict[str, Any],
    methods: Sequence[str],
) -> tuple[str, ...]:
    """Train SSL-E, both routes, and what the listed baselines stand on besides; gives the stages' names."""
    from meta_perser.baselines import TARGETS
    from meta_perser.pretrain import pretrain as run_pretrain
    from meta_perser.scope import DEFAULT_RANK
    from meta_perser.train import meta_train as run_meta_train
    from speechlm_icl.train import icl_train as run_icl_train

    ssl_e = models / "ssl-e"
    heard_by = {"encoder": str(ssl_e / "encoder"), "out": models / "speech-lm"}
    if "lora-few" in methods and not pretrain["lora_rank"]:
        pretrain = pretrain | {"lora_rank": DEFAULT_RANK}
    stages.run(
        "pretrain",
        run_pretrain,
        pretrain | {"out": ssl_e},
        after=("prepare", "episodes"),
        sources=("encoder",),
    )
    trained = ["pretrain"]
    if _listed(methods, "meta-perser"):
        trained.append("meta-train")
        stages.run(
            "meta-train",
            run_meta_train,
            meta_train | {"ssl_e": ssl_e, "out": models / "meta-perser"},
            after=("pretrain",),
        )
    if _listed(methods, "speech-lm"):
        trained.append("icl-train")
        stages.run(
            "icl-train",
            run_icl_train,
            icl_train | heard_by,
            after=("pretrain",),
            sources=("language_model",),
        )
    for target in (target for method, target in TARGETS.items() if method in methods):
        trained.append(f"pretrain {target}")
        stages.run(
            trained[-1],
            run_pretrain,
            pretrain | {"out": models / target, "target": target},
            after=("prepare", "episodes"),
            sources=("encoder",),
        )
    return tuple(trained)


def _listed(methods: Sequence[str], model: str) -> bool:
    """Whether a listed method stands on this model: what no method needs is not trained."""
    return any(method.startswith(model) for method in methods)


def check(
    encoder: str,
    scopes: Sequence[str],
    prepare: dict[str, Any],
    draw: dict[str, Any],
    icl_train: dict[str, Any],
    bench: dict[str, Any],
) -> None:
    """What can be known to fail before the first stage runs. Raises UserError."""
    from meta_perser.scope import check_scope
    from perser.encoder_loading import check_encoder
    from perser.prepare import check_prepare
    from speechlm_icl.language_model import check_language_model
    from speechlm_icl.train import IclTraining

    for method in bench["methods"]:
        check_method(method, draw["k"])
    for scope in scopes:
        check_scope(scope)
    check_prepare(**{name: value for name, value in prepare.items() if name != "allow_skips"})
    check_encoder(encoder)
    check_language_model(icl_train["language_model"])
    known = {one.name for one in fields(IclTraining)}
    try:
        IclTraining(**{name: value for name, value in icl_train.items() if name in known})
    except ValueError as error:
        raise UserError(f"icl_train.{error}") from error


def fix_threads(threads: int | None) -> None:
    """Sums in floating point depend on how many threads share them: with the number fixed, a seed gives the
    same figures on a machine whatever the environment says."""
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"threads: {threads}, give at least 1, or null for the machine's own number")
    import torch

    torch.set_num_threads(threads)


def add_arguments(parser: ArgumentParser) -> None:
    """Every stage's own options under the stage's name; their defaults are the quickstart."""
    from benchmarks.run import bench
    from meta_perser.pretrain import pretrain
    from meta_perser.train import meta_train
    from perser.draw import episodes
    from perser.prepare import prepare
    from speechlm_icl.train import icl_train

    parser.add_argument(
        "--title", type=str, default="Quickstart on simulated speech", help="heads the report"
    )
    parser.add_argument(
        "--out", type=Path, default=QUICKSTART_OUT, help="folder of everything that the run makes"
    )
    parser.add_argument(
        "--cache", type=Path | None, default=None, help="folder of the feature cache; none: in out"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the training stages, and of a simulated corpus; the split and the episodes have "
        "draw.split.seed and draw.seeds",
    )
    parser.add_argument(
        "--threads", type=int | None, default=2, help="CPU threads; none: as many as the machine gives"
    )
    parser.add_argument(
        "--encoder",
        type=str,
        default="tiny-whisper",
        help="a Hub name, a local folder, or tiny-{wav2vec2,hubert,wavlm,data2vec,whisper}",
    )
    parser.add_function_arguments(prepare, "prepare", skip={"out"}, as_positional=False)
    for name, stage in {
        "draw": episodes,
        "pretrain": pretrain,
        "meta_train": meta_train,
        "icl_train": icl_train,
        "bench": bench,
    }.items():
        parser.add_function_arguments(stage, name, skip=GIVEN, as_positional=False)
    parser.set_defaults(QUICKSTART)


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
