"""The options of an experiment: its own keys, and each stage's options under the stage's name.

A file means what it says; everything else has the default that the stage's own command documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.experiments.train_models import fixed_options, loads
from benchmarks.trivial_baselines import METHODS
from perser.cli.parser import parse_options
from perser.episodes.sampling import EnrollmentMode
from perser.installed_routes import installed_routes

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

TestLabels = Literal["shared", "open"]
"""How the emotions of a corpus in `test_on` are answered."""

QUICKSTART = Path(__file__).parents[1] / "quickstart.yaml"
"""The quickstart's file, which is installed with the package."""

CONFIGS = Path(__file__).parents[2] / "configs"
"""The experiments' files, in a checkout of the repository."""

FILLED_IN: set[str | int] = {
    "corpus",
    "episodes",
    "out",
    "cache",
    "ssl_e",
    "encoder",
    "seed",
    "target",
    "largest_k",
    "resume",
}
"""Parameters of the stages that the experiment fills in."""


def read_experiment(file: Path, *arguments: str) -> dict[str, Any]:
    """Return the options in an experiment's file, with `arguments` (`--out`, DIR, ...) instead of its own.

    Raises UserError, which names the option.
    """
    return parse_options(add_arguments, ["--config", str(file), *arguments])


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of an experiment to a parser."""
    _add_own(parser)
    _add_other_corpora(parser)
    _add_sharing(parser)
    _add_stages(parser)
    _add_bench(parser)


def _add_stages(parser: ArgumentParser) -> None:
    from perser.cli.episodes import episodes
    from perser.cli.prepare import prepare

    # Not required by the parser, so that `make_plan` can say which files there are if there is no corpus.
    parser.add_argument(
        "--prepare.corpus", type=str | None, default=None, help="its name in `perser prepare --list`"
    )
    parser.add_function_arguments(prepare, "prepare", skip={"out", "corpus"}, as_positional=False)
    parser.add_function_arguments(episodes, "draw", skip=FILLED_IN, as_positional=False)
    for route in installed_routes():
        for training in filter(loads, route.train):
            skip: set[str | int] = {"out", "resume", *training.shared, *fixed_options(training)}
            parser.add_function_arguments(training.function, training.key, skip=skip, as_positional=False)


def _add_bench(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bench.methods",
        type=list[str],
        default=list(METHODS),
        help="which methods to measure, by name; speech-lm-N reads N enrollment pairs",
    )
    parser.add_argument(
        "--bench.standardize",
        type=Literal["model", "corpus", "enrolled"],
        default="model",
        help="by which clips features are standardized, for all methods but entire-zero: those of training, "
        "all of the corpus that is measured (without labels), or those that a person enrolls; a method's "
        "name may say it, too, as in meta-perser+standardize=corpus",
    )
    parser.add_argument(
        "--bench.limit",
        type=int | None,
        default=None,
        help="measure only so many episodes of each file, for a quick look; none: all",
    )


def _add_own(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--title",
        type=str,
        default="Personalized speech emotion recognition",
        help="the heading of the report",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/experiment"), help="folder of everything that the run writes"
    )
    parser.add_argument(
        "--cache", type=Path | None, default=None, help="folder of the feature cache; none: in out"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the training stages and of a simulated corpus; the split and the episodes have "
        "draw.split.seed and draw.seeds",
    )
    parser.add_argument(
        "--train_seeds",
        type=list[int],
        default=[],
        help="train the models with each of these seeds, on the same corpus and episodes: a row is then the "
        "mean over them, beside their spread; the experiment's own seed keeps its folder, others have "
        "train-seed-N; none: the experiment's own seed",
    )
    parser.add_argument(
        "--folds",
        type=list[int] | Literal["all"] | None,
        default=None,
        help="the folds that are tested in turn, or all; the report pools them; none: draw.split.fold alone",
    )
    parser.add_argument(
        "--sweep_k",
        type=list[int],
        default=[],
        help="further K to measure with the same models; the queries are the same, and a smaller support is "
        "the beginning of a larger one",
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


def _add_other_corpora(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--corpora",
        type=list[str | dict[str, Any]],
        default=[],
        help="instead of prepare: two corpora or more that are joined, to train on all: each a prepared "
        "folder, or options of prepare; `weight` beside them says how often its persons are drawn",
    )
    parser.add_argument(
        "--test_on",
        type=list[str | dict[str, Any]],
        default=[],
        help="further corpora to measure the trained models on: each a prepared folder, or options of "
        "prepare, such as {corpus: nemo, root: data/nemo}; `q` beside them replaces draw.q there",
    )
    parser.add_argument(
        "--test_labels",
        type=TestLabels,
        default="shared",
        help="how emotions of the corpora in test_on are answered. shared: by name, and what the trained "
        "models do not know is left out; open: all of them, under words that mean nothing",
    )


def _add_sharing(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int | None, default=None, help="CPU threads; none: as many as the machine offers"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        help="further processes, each with as many threads, that train models and measure methods at the "
        "same time; fewer where the machine has no cores for them, none on a GPU; the figures stay the same",
    )
