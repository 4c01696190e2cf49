"""The cells of a comparison: one method on the episodes of one seed, each a file of predictions.

A cell that is there, with the same method, episodes and models, is not measured again, so that a run that was
killed goes on and loses one cell at most. Several processes share the cells out.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from benchmarks.measuring.answer import answers
from benchmarks.measuring.predictions import Origin, Predictions, read_metadata
from perser.corpora.corpus import Corpus
from perser.distributed import processes
from perser.environment import describe_environment
from perser.episodes.episode import Episode
from perser.episodes.episode_file import EpisodeFile
from perser.installed_routes import build_method, check_method
from perser.io.checksums import file_sha256
from perser.peak_memory import existing_objects_frozen, run_with_peak
from perser.personalizer import RouteContext


@dataclass(frozen=True)
class Cell:
    """One method on the episodes of one seed."""

    method: str
    seed: int

    @property
    def file(self) -> Path:
        """Inside the folder of predictions."""
        return Path(re.sub(r"[^\w.+=-]", "_", self.method)) / f"seed-{self.seed}.parquet"


@dataclass(frozen=True)
class Case:
    """One file of episodes, and the methods that are measured on it.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file.
        models: the folder of trained models.
        cache: folder of the feature cache.
        methods: their names.
        limit: measure so many episodes alone, a seed at a time; None for all.
    """

    corpus: Path
    episodes: Path
    models: Path
    cache: Path
    methods: tuple[str, ...]
    limit: int | None = None

    @cached_property
    def prepared(self) -> Corpus:
        return Corpus.load(self.corpus)

    @cached_property
    def drawn(self) -> EpisodeFile:
        drawn = EpisodeFile.load(self.episodes)
        drawn.check_corpus(self.prepared)
        return drawn

    @cached_property
    def asked(self) -> dict[int, list[Episode]]:
        """The episodes that are measured, by seed."""
        by_seed = sorted(self.drawn.episodes, key=lambda one: one.seed)[: self.limit]
        return {seed: list(same) for seed, same in groupby(by_seed, key=lambda one: one.seed)}

    @property
    def asked_digest(self) -> str:
        """Names the episodes that are measured: supports, queries and labels."""
        asked = [asdict(one) for same in self.asked.values() for one in same]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def context(self) -> RouteContext:
        """What methods are built from: no label of a query is in it."""
        drawn, corpus = self.drawn, self.prepared
        return RouteContext(
            corpus.emotions,
            corpus.recordings,
            Path(self.models),
            Path(self.cache),
            drawn.training_digest,
            device=str(processes().device),
        )

    @cached_property
    def cells(self) -> list[Cell]:
        """Every method on every seed. Raises UserError for a method that cannot be measured here."""
        for name in self.methods:
            check_method(name, self.drawn.k)
        return [Cell(name, seed) for name in dict.fromkeys(self.methods) for seed in self.asked]

    def key(self, cell: Cell) -> str:
        """Changes with the cell's method, with its episodes and with the corpus."""
        asked = [asdict(one) for one in self.asked[cell.seed]]
        content = [cell.method, self.drawn.corpus_fingerprint, self.drawn.training_digest, asked]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def run_cells(case: Case, folder: Path, resume: bool = True) -> None:
    """Measure what is not there yet into `folder`, this process its share. Ends when all processes have."""
    state = processes()
    share = case.cells[state.process_index :: state.num_processes]
    with existing_objects_frozen():
        for cell in share:
            if not (resume and is_finished(case, cell, folder)):
                run_cell(case, cell, folder)
    state.wait_for_everyone()


def is_finished(case: Case, cell: Cell, folder: Path) -> bool:
    """Whether the cell's file is there, from the same episodes and from models that have not changed."""
    said = read_metadata(folder / cell.file)
    return (
        said is not None
        and said["key"] == case.key(cell)
        and all(said["models"][name] == model_digest(case.models / name) for name in said["models"])
    )


def run_cell(case: Case, cell: Cell, folder: Path) -> None:
    """Measure one cell, its method built anew: one that keeps what it was shown must not know a person's
    labels from one seed when another asks about them, nor answer by what came before."""
    context = case.context()
    started = time.perf_counter()
    personalizer = build_method(cell.method, context)
    built = time.perf_counter() - started
    asked = case.asked[cell.seed]
    questions = [one.question for one in asked]
    shown = f"bench {cell.method}" + (f" (seed {cell.seed})" if len(case.asked) > 1 else "")
    given, peak = run_with_peak(lambda: answers(personalizer, questions, shown), processes().device)
    origin = Origin(
        key=case.key(cell),
        method=cell.method,
        route=personalizer.route,
        adapts=personalizer.describe(),
        parameters=personalizer.parameters(),
        models={name: model_digest(case.models / name) for name in sorted(context.opened)},
        peak_bytes=peak,
        seconds_build=built,
        **describe_environment(),
    )
    found = Predictions(origin, case.prepared.emotions.names, [one.episode_id for one in asked], given)
    found.save(folder / cell.file, case.drawn, asked)


def model_digest(folder: Path) -> str:
    """A digest of the files of a model's folder; empty where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in found]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest() if parts else ""
