"""What a file for `perser experiment` may say: the experiment's own keys, and every stage's own options under
the stage's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.experiments.train_models import fixed_options
from benchmarks.trivial_baselines import METHODS
from perser.episodes.sampling import EnrollmentMode
from perser.installed_routes import installed_routes

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

QUICKSTART_OUT = Path("runs/quickstart")

QUICKSTART = {
    "prepare.corpus": "simulated",
    "draw.q": 64,
    "draw.seeds": 2,
    "draw.validation_seeds": 4,
    "draw.split.validation_groups": 5,
    "pretrain.epochs": 12,
    "pretrain.batch_size": 16,
    "pretrain.learning_rate": 2e-3,
    "pretrain.class_balanced": False,
    "meta_train.scope": "head",
    "meta_train.csmt": False,
    "meta_train.inner.steps": 50,
    "meta_train.inner.query": 64,
    "meta_train.inner.rate": 0.005,
    "meta_train.outer.iterations": 120,
    "meta_train.outer.rates_learning_rate": 3e-3,
    "meta_train.outer.validate_every": 20,
    "icl_train.steps": 200,
    "icl_train.projector.feature_noise": 0.3,
    "bench.methods": list(METHODS),
}
"""What the embedded default sets apart from the stages' own defaults: minutes on two CPU cores."""

GIVEN = {
    "corpus",
    "episodes",
    "out",
    "cache",
    "ssl_e",
    "encoder",
    "models",
    "seed",
    "target",
    "title",
    "largest_k",
    "experiments",
    "resume",
    "rerun_one",
}
"""Arguments of the stages that the experiment itself fills in."""


def add_arguments(parser: ArgumentParser) -> None:
    """Every stage's own options under the stage's name; their defaults are the quickstart."""
    from benchmarks.run import bench
    from perser.cli.episodes import episodes
    from perser.cli.prepare import prepare

    _add_own(parser)
    parser.add_function_arguments(prepare, "prepare", skip={"out"}, as_positional=False)
    parser.add_function_arguments(episodes, "draw", skip=GIVEN, as_positional=False)
    for route in installed_routes():
        for training in route.train:
            skip = {"out", "resume", *training.shared, *fixed_options(training)}
            parser.add_function_arguments(training.function, training.key, skip=skip, as_positional=False)
    parser.add_function_arguments(bench, "bench", skip=GIVEN, as_positional=False)
    parser.set_defaults(QUICKSTART)


def _add_own(parser: ArgumentParser) -> None:
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
        "--turns",
        type=list[int] | Literal["all"] | None,
        default=None,
        help="the folds that are tested in turn, or all; the report pools them; none: draw.split.fold alone",
    )
    parser.add_argument(
        "--sweep_k",
        type=list[int],
        default=[],
        help="further K to measure with the same models: supports that begin alike, the same queries",
    )
    parser.add_argument(
        "--modes",
        type=list[EnrollmentMode],
        default=[],
        help="further modes of enrollment (draw.mode) to measure with the same models, with draw.k pairs",
    )
    parser.add_argument(
        "--encoder",
        type=str,
        default="tiny-whisper",
        help="a Hub name, a local folder, or tiny-{wav2vec2,hubert,wavlm,data2vec,whisper}",
    )
    parser.add_argument(
        "--ablations",
        type=dict[str, Any],
        default={},
        help="ablations of meta-training: name to what differs from meta_train; each is trained too, and "
        "measured as the method meta-perser:NAME",
    )
