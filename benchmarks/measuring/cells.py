"""Measure the cells of a comparison: one method on the episodes of one seed, one file of predictions each.

A cell whose file is there, from the same method, episodes and models, is not measured again: a run that was
killed goes on where it stopped and loses one cell at most. Several processes divide the cells among them.

The thresholds of a method are those of all its cells: the first cell that needs them writes them to a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.answer import answer_episodes
from benchmarks.measuring.predictions import Origin, Predictions, read_metadata
from benchmarks.measuring.thresholds import choose_thresholds
from benchmarks.oracles import check_truth, is_oracle, oracle_context
from benchmarks.task_sharing import run_with_workers
from perser.corpora.content import Content
from perser.corpora.corpus import Corpus
from perser.device import clock, set_tf32
from perser.distributed import processes
from perser.environment import describe_environment
from perser.episodes.episode import Episode
from perser.episodes.episode_file import EpisodeFile
from perser.installed_routes import build_method, check_method, check_models, parse_method
from perser.io.checksums import file_sha256, json_sha256
from perser.io.json_files import read_json, write_json
from perser.peak_memory import existing_objects_frozen, run_with_peak
from perser.personalizer import RouteContext, ablation_folder
from perser.selection.validation import first_of_each_person


@dataclass(frozen=True)
class Cell:
    """One method on the episodes of one seed."""

    method: str
    seed: int

    @property
    def file(self) -> Path:
        """The cell's path inside the folder of predictions."""
        return Path(re.sub(r"[^\w.+=-]", "_", self.method)) / f"seed-{self.seed}.parquet"

    @property
    def title(self) -> str:
        return f"bench {self.method} (seed {self.seed})"


@dataclass(frozen=True)
class Case:
    """An episodes file, and the methods to measure on it.

    Args:
        corpus: folder of a prepared corpus.
        episodes: the episodes file.
        models: folder of the trained models.
        cache: folder of the feature cache.
        methods: names of the methods.
        limit: measure only the first episodes, this many, ordered by seed; None measures all.
    """

    corpus: Path
    episodes: Path
    models: Path
    cache: Path
    methods: tuple[str, ...]
    limit: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to another process: the fields, and nothing that was loaded."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def loaded_corpus(self) -> Corpus:
        return Corpus.load(self.corpus)

    @cached_property
    def episode_file(self) -> EpisodeFile:
        """The loaded episodes file. Raises UserError where it was not drawn from the corpus."""
        episode_file = EpisodeFile.load(self.episodes)
        episode_file.check_corpus(self.loaded_corpus)
        return episode_file

    @cached_property
    def episodes_by_seed(self) -> dict[int, list[Episode]]:
        """The episodes to measure."""
        ordered = sorted(self.episode_file.episodes, key=lambda episode: episode.seed)[: self.limit]
        return {seed: list(same) for seed, same in groupby(ordered, key=lambda episode: episode.seed)}

    @property
    def validation_episodes(self) -> list[Episode]:
        """The episodes on which thresholds are chosen: one of each validation person; none with a limit."""
        return [] if self.limit is not None else first_of_each_person(self.episode_file.validation_episodes)

    def load(self) -> None:
        """Load the corpus and the episodes now."""
        _ = self.loaded_corpus, self.episodes_by_seed

    @property
    def episodes_digest(self) -> str:
        """A digest of the episodes to measure: their supports, queries and labels."""
        episodes = [episode.as_json() for same in self.episodes_by_seed.values() for episode in same]
        return json_sha256(episodes)

    @cached_property
    def content(self) -> Content:
        """The recordings and persons of the corpus."""
        return Content.of_all(self.loaded_corpus)

    def context(self) -> RouteContext:
        """Return what methods are built from. It holds no label of a query."""
        corpus = self.loaded_corpus
        return RouteContext(
            corpus.emotions,
            corpus.recordings,
            Path(self.models),
            Path(self.cache),
            self.episode_file.training_digest,
            device=str(processes().device),
            content=lambda: self.content,
            validation=lambda: self.episode_file.validation_episodes,
            utterances=lambda: self._utterances(),  # a bound method would hand over the labels
            parts=tuple(part.name for part in corpus.parts),
            open_labels=self.episode_file.is_open,
        )

    def _utterances(self) -> list[str]:
        """Return the utterances of the episodes to measure and of the validation episodes."""
        measured = [episode for same in self.episodes_by_seed.values() for episode in same]
        episodes = [*measured, *self.episode_file.validation_episodes]
        return sorted(
            {name for each in episodes for name in (*each.support.utterances, *each.query_utterances)}
        )

    def check_models(self) -> None:
        """Raise UserError for a method that cannot be measured with these episodes and models."""
        for name in self.methods:
            check_method(name, self.episode_file.k, self.episode_file.is_open)
        check_models(self.methods, self.context())

    @cached_property
    def cells(self) -> list[Cell]:
        """Every method on every seed. Raises UserError for a method that cannot be measured here."""
        for name in self.methods:
            check_method(name, self.episode_file.k, self.episode_file.is_open)
        if any(map(is_oracle, self.methods)):
            check_truth(self.loaded_corpus, self.episode_file.episodes)
        return [Cell(name, seed) for name in dict.fromkeys(self.methods) for seed in self.episodes_by_seed]

    def key(self, cell: Cell) -> str:
        """Return a digest of the cell's method and episodes, the corpus and the training split."""
        return self._digest(cell.method, self.episodes_by_seed[cell.seed])

    def thresholds_key(self, method: str) -> str:
        """Return a digest of what a method's thresholds are chosen on."""
        return self._digest(method, self.validation_episodes)

    def _digest(self, method: str, episodes: Sequence[Episode]) -> str:
        drawn, content = self.episode_file, [episode.as_json() for episode in episodes]
        return json_sha256([method, drawn.corpus_fingerprint, drawn.training_digest, content])

    def method_context(self, cell: Cell) -> RouteContext:
        """Return what the method of a cell is built from, which an oracle's truth belongs to."""
        if not is_oracle(cell.method):
            return self.context()
        known = [*self.episodes_by_seed[cell.seed], *self.validation_episodes]
        return oracle_context(self.context(), self.loaded_corpus, known)


def run_cells(case: Case, folder: Path, resume: bool = True, workers: int = 0) -> None:
    """Measure this process's share of the cells into `folder`, then wait for the other processes.

    With `resume`, cells that are finished are skipped. On a GPU, float32 is multiplied in TF32. `workers`:
    see `run_with_workers`.
    """
    state = processes()
    set_tf32(state.device, allowed=True)
    if not resume:
        if state.is_main_process:
            for cell in case.cells:
                thresholds_file(cell, folder).unlink(missing_ok=True)
        state.wait_for_everyone()
    share = case.cells[state.process_index :: state.num_processes]
    cells = _unfinished(case, share, folder) if resume else share
    titles = [cell.title for cell in cells]
    run_with_workers(partial(_run_numbered, case, cells, folder), titles, workers)
    state.wait_for_everyone()


def cells_of_trained(case: Case, folder: Path, models: Collection[str]) -> dict[str, Callable[[], None]]:
    """Return the cells that are not finished of methods that need these models and no other: what measures
    each, by a title."""
    ready = [cell for cell in case.cells if _needs_only(cell.method, models)]
    cells = _unfinished(case, ready, folder)
    return {
        cell.title: partial(_run_numbered, case, cells, folder, number) for number, cell in enumerate(cells)
    }


def _needs_only(method: str, models: Collection[str]) -> bool:
    parsed = parse_method(method)
    needed = parsed.route.needs.get(parsed.method, ())
    return bool(needed) and all(ablation_folder(name, parsed.ablation) in models for name in needed)


def _run_numbered(case: Case, cells: Sequence[Cell], folder: Path, number: int) -> None:
    case.load()
    with existing_objects_frozen():
        run_cell(case, cells[number], folder)


def _unfinished(case: Case, cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """Return the cells that are not finished. Each model is read once, however many cells were made of it."""
    digest = cache(model_digest)
    return [cell for cell in cells if not is_finished(case, cell, folder, digest)]


def is_finished(case: Case, cell: Cell, folder: Path, digest: Callable[[Path], str] | None = None) -> bool:
    """Return whether the cell's file is there, from the same episodes and from models that did not change.

    `digest`: returns the digest of a model that is there; None: `model_digest`.
    """
    metadata = read_metadata(folder / cell.file)
    return (
        metadata is not None
        and metadata["key"] == case.key(cell)
        and _are_unchanged(case, metadata["models"], digest or model_digest)
    )


def run_cell(case: Case, cell: Cell, folder: Path) -> None:
    """Measure one cell and save its predictions.

    The method is built anew for every cell. A method that remembers its supports must not know a person's
    labels from one seed when it is asked about the same utterances in another.
    """
    title = f"bench {cell.method}" + (f" (seed {cell.seed})" if len(case.episodes_by_seed) > 1 else "")
    # The first cell chooses them at once, so that the others, when they have answered, find them.
    is_first = cell.seed == min(case.episodes_by_seed)
    thresholds = _thresholds(case, cell, folder, title) if is_first else None
    context, device = case.method_context(cell), processes().device
    started = clock(device)
    personalizer = build_method(cell.method, context)
    seconds_build = clock(device) - started
    episodes = case.episodes_by_seed[cell.seed]
    answers, peak_bytes = run_with_peak(
        lambda: answer_episodes(personalizer, episodes, context.emotions, title), device
    )
    if not is_first:
        thresholds = _thresholds(case, cell, folder, title)
    origin = Origin(
        key=case.key(cell),
        method=cell.method,
        route=personalizer.route,
        adapts=personalizer.describe(),
        parameters=personalizer.parameters(),
        models={name: model_digest(case.models / name) for name in sorted(context.opened)},
        other_corpora=context.other_corpora,
        peak_bytes=peak_bytes,
        thresholds=thresholds,
        seconds_build=seconds_build,
        **describe_environment(),
    )
    episode_ids = [episode.episode_id for episode in episodes]
    predictions = Predictions(origin, case.loaded_corpus.emotions.names, episode_ids, answers)
    predictions.save(folder / cell.file, case.episode_file, episodes)


def _thresholds(case: Case, cell: Cell, folder: Path, title: str) -> list[float] | None:
    """Return the thresholds that are best on validation persons; None where there are none, or where every
    episode has labels of its own.

    They are chosen once for all cells of a method that have the same models, and kept in a file.
    """
    episodes, emotions = case.validation_episodes, case.loaded_corpus.emotions
    if not episodes or case.episode_file.is_open:
        return None
    file, key = thresholds_file(cell, folder), case.thresholds_key(cell.method)
    known = read_json(file) or {}
    if known.get("key") == key and _are_unchanged(case, known["models"], model_digest):
        return known["thresholds"]
    context = case.method_context(cell)
    answers = answer_episodes(build_method(cell.method, context), episodes, emotions, f"{title}: thresholds")
    labels = [emotions.multi_hot(episode.query_emotions) for episode in episodes]
    thresholds = choose_thresholds(
        np.concatenate([answer.probabilities for answer in answers]), np.concatenate(labels).astype(np.int64)
    )
    models = {name: model_digest(case.models / name) for name in sorted(context.opened)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"key": key, "models": models, "thresholds": thresholds})
    return thresholds


def thresholds_file(cell: Cell, folder: Path) -> Path:
    """Return the file of the thresholds of a cell's method, in a folder beside that of the predictions."""
    return folder.with_name(f"{folder.name}-thresholds") / f"{cell.file.parent.name}.json"


def _are_unchanged(case: Case, models: Mapping[str, str], digest: Callable[[Path], str]) -> bool:
    """Return whether the models still have these digests."""
    return all(before == digest(case.models / name) for name, before in models.items())


def model_digest(folder: Path) -> str:
    """Return a digest of the names and contents of all files of a model; empty where the folder has none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files]
    return json_sha256(parts) if parts else ""
