"""perser experiment --config configs/NAME.yaml

A whole comparison from one file: prepare a corpus, draw episodes, train both routes, measure every method on
the same episodes. A finished stage is skipped on a rerun with the same options.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.cli import run_command
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
    from meta_perser.baselines import TARGETS
    from meta_perser.pretrain import pretrain as run_pretrain
    from meta_perser.scope import DEFAULT_RANK
    from meta_perser.train import meta_train as run_meta_train
    from perser.draw import episodes as run_draw
    from perser.prepare import prepare as run_prepare
    from speechlm_icl.train import icl_train as run_icl_train

    for method in bench["methods"]:
        check_method(method, draw["k"])
    stages = Stages(out)
    corpus, episodes, models = out / "corpus", out / "episodes.json", out / "models"
    cache = cache or out / "cache"
    ssl_e = models / "ssl-e"
    training = {"corpus": corpus, "episodes": episodes, "cache": cache, "seed": seed}
    # A simulated corpus is the seed's; real recordings, and whoever is simulated over them, stay the same.
    drawn = {"seed": seed} if prepare["corpus"] == "simulated" else {}
    stages.run("prepare", run_prepare, prepare | {"out": corpus} | drawn)
    stages.run("episodes", run_draw, draw | {"corpus": corpus, "out": episodes})
    supervised = pretrain | training | {"encoder": encoder}
    if "lora-few" in bench["methods"] and not pretrain["lora_rank"]:
        supervised["lora_rank"] = DEFAULT_RANK
    stages.run("pretrain", run_pretrain, supervised | {"out": ssl_e})
    stages.run(
        "meta-train", run_meta_train, meta_train | training | {"ssl_e": ssl_e, "out": models / "meta-perser"}
    )
    heard_by = {"encoder": str(ssl_e / "encoder"), "out": models / "speech-lm"}
    stages.run("icl-train", run_icl_train, icl_train | training | heard_by)
    # Last: a method more trains no other model again.
    for target in (target for method, target in TARGETS.items() if method in bench["methods"]):
        stages.run(
            f"pretrain {target}", run_pretrain, supervised | {"out": models / target, "target": target}
        )
    measured = {
        "corpus": corpus,
        "episodes": episodes,
        "models": models,
        "cache": cache,
        "out": out,
        "title": title,
    }
    stages.run("bench", run_bench, bench | measured, made=out / "results.json")
    write_text_whole(out / COMMAND, command_line() + "\n")
    show(out)


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
    parser.add_argument("--seed", type=int, default=0, help="of every stage that draws by chance")
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


class Stages:
    """Runs stages in order; remembers in `out/stages/` which ended, with which options, after which."""

    def __init__(self, out: Path) -> None:
        self._folder = out / "stages"
        self._before = ""

    def run(
        self, name: str, function: Callable[..., None], options: dict[str, Any], made: Path | None = None
    ) -> None:
        """Run the stage unless it ended before with the same options, after the same stages, and what it
        made (its `out`, if not said) is still there."""
        described = json.dumps(_plain(options), sort_keys=True)
        key = hashlib.sha256((self._before + name + described).encode()).hexdigest()
        self._before = key
        record = self._folder / f"{name}.json"
        there = (made or Path(options["out"])).exists()
        if there and record.exists() and json.loads(record.read_text(encoding="utf-8")).get("key") == key:
            print(f"{name}: finished before, skipped", file=sys.stderr)
            return
        record.unlink(missing_ok=True)  # what is there is no longer a finished stage's
        print(f"{name}: started", file=sys.stderr)
        started = time.perf_counter()
        function(**options)
        seconds = round(time.perf_counter() - started, 1)
        ended = {"key": key, "seconds": seconds, "options": json.loads(described)}
        write_text_whole(record, json.dumps(ended, indent=1) + "\n")
        print(f"{name}: {seconds:.0f} s", file=sys.stderr)


def show(out: Path) -> None:
    """Print the table of a finished run and where its report lies."""
    from benchmarks.report import print_table

    print_table(json.loads((out / "results.json").read_text(encoding="utf-8")))
    for name in ("results.json", "report.md", "report.html", "plots"):
        print(f"  {out / name}")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def command_line() -> str:
    """The command that started this process, as one would type it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


if __name__ == "__main__":
    run_command(experiment)
