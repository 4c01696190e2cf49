"""Cells are measured once, divided among processes, and never see the labels of a query."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.measuring import cells as module
from benchmarks.measuring.cells import Case, Cell, cells_of_trained, is_finished, model_digest, run_cells
from benchmarks.measuring.predictions import read_metadata
from benchmarks.run import bench
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.personalizer import Personalizer


@pytest.fixture
def measured(monkeypatch):
    """The cells that are measured, in order, filled as they are measured."""
    cells = []
    original = module.run_cell

    def recorded(case, cell, folder):
        cells.append(cell)
        original(case, cell, folder)

    monkeypatch.setattr(module, "run_cell", recorded)
    return cells


def test_cells_are_measured_in_tf32_where_there_is_a_gpu(case, monkeypatch, tmp_path):
    chosen = []
    monkeypatch.setattr(module, "set_tf32", lambda device, allowed: chosen.append((device.type, allowed)))
    monkeypatch.setattr(module, "run_cell", lambda case, cell, folder: chosen.append(cell))
    run_cells(case, tmp_path / "predictions")
    assert chosen == [("cpu", True), *case.cells]


def test_a_cell_is_a_method_on_a_seed_and_is_measured_once(case, measured, tmp_path):
    run_cells(case, tmp_path / "predictions")
    assert measured == [Cell(method, seed) for method in case.methods for seed in (0, 1)]
    for cell in measured:
        assert (tmp_path / "predictions" / cell.file).is_file()
    measured.clear()
    run_cells(case, tmp_path / "predictions")
    assert measured == []
    run_cells(case, tmp_path / "predictions", resume=False)
    assert len(measured) == 4


def test_only_missing_or_damaged_cells_are_measured_again(case, measured, tmp_path):
    folder = tmp_path / "predictions"
    run_cells(case, folder)
    missing, truncated = Cell("random", 1), Cell("most-frequent", 0)
    (folder / missing.file).unlink()
    content = (folder / truncated.file).read_bytes()
    (folder / truncated.file).write_bytes(content[: len(content) // 2])
    measured.clear()
    run_cells(case, folder)
    assert measured == [missing, truncated]


def test_cells_with_other_episodes_are_measured_again(case, measured, tmp_path):
    run_cells(case, tmp_path / "predictions")
    measured.clear()
    run_cells(replace(case, limit=2), tmp_path / "predictions")
    assert measured == [Cell(method, 0) for method in case.methods]
    table = pq.read_table(tmp_path / "predictions" / measured[0].file)
    assert len(set(table["episode_id"].to_pylist())) == 2


class Uniform(Personalizer):
    """A method that gives every emotion the same probability."""

    route = "mine"

    def personalize(self, support):
        return self

    def predict_proba(self, utterances):
        return np.full((len(utterances), 4), 0.25, dtype=np.float32)


def test_a_cell_is_measured_again_after_its_own_model_changed_but_not_another(case, tmp_path, monkeypatch):
    def build(name, context):
        context.folder("mine")
        return Uniform()

    monkeypatch.setattr(module, "build_method", build)
    for name in ("mine", "other"):
        (case.models / name).mkdir(parents=True)
        (case.models / name / "weights").write_text("1")
    run_cells(case, tmp_path / "predictions")
    cell = Cell("random", 0)
    (case.models / "other" / "weights").write_text("2")
    assert is_finished(case, cell, tmp_path / "predictions")
    (case.models / "mine" / "weights").write_text("2")
    assert not is_finished(case, cell, tmp_path / "predictions")


@pytest.fixture
def of_ssl_e(case, monkeypatch) -> Case:
    """A case of one method, which is built from SSL-E alone."""

    def build(name, context):
        context.folder("ssl-e")
        return Uniform()

    monkeypatch.setattr(module, "build_method", build)
    (case.models / "ssl-e").mkdir(parents=True)
    return replace(case, methods=("entire-zero",))


def test_a_model_is_read_once_to_see_which_cells_are_finished(of_ssl_e, tmp_path, monkeypatch):
    one, folder = of_ssl_e, tmp_path / "predictions"
    run_cells(one, folder)
    read = []
    monkeypatch.setattr(module, "model_digest", lambda folder: read.append(folder) or model_digest(folder))
    run_cells(one, folder)
    assert cells_of_trained(one, folder, ["ssl-e"]) == {}
    assert len(one.cells) == 2
    assert read == 2 * [one.models / "ssl-e"], "once by each"
    (one.models / "ssl-e" / "weights").write_text("2")
    assert len(cells_of_trained(one, folder, ["ssl-e"])) == 2


def test_a_model_digest_depends_on_names_and_contents(tmp_path):
    assert model_digest(tmp_path / "nothing") == ""
    (tmp_path / "a").write_text("1")
    first = model_digest(tmp_path)
    (tmp_path / "a").write_text("2")
    second = model_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, model_digest(tmp_path)}) == 3


HOLDS_LABELS = (Episode, EpisodeFile, Task, Corpus)


class Cheat(Personalizer):
    """Looks for labels in everything that it is given, and in everything reachable from there."""

    route = "cheat"

    def __init__(self, context):
        self.seen = reachable(context)

    def personalize(self, support: Support):
        self.seen |= reachable(support)
        return self

    def predict_proba(self, utterances):
        self.seen |= reachable(utterances)
        return np.full((len(utterances), 4), 0.25, dtype=np.float32)


def reachable(start) -> set[str]:
    """The classes of HOLDS_LABELS that can be reached from an object, without modules and classes."""
    seen, todo, classes = set(), [start], set()
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | type(sys) | type(reachable)):
            continue
        seen.add(id(item))
        if isinstance(item, HOLDS_LABELS):
            classes.add(type(item).__name__)
        todo.extend(gc.get_referents(item))
    return classes


def test_a_method_that_looks_for_the_query_labels_does_not_find_them(case, tmp_path, monkeypatch):
    cheats = []

    def build(name, context):
        cheats.append(Cheat(context))
        return cheats[-1]

    monkeypatch.setattr(module, "build_method", build)
    run_cells(case, tmp_path / "predictions")
    assert len(cheats) == len(case.cells) + len(case.methods), "one more of each method for its thresholds"
    assert all(cheat.seen == set() for cheat in cheats)
    assert reachable(case.episodes_by_seed) == {"Episode"}, "labels would be found if they were there"


class Hoarder(Uniform):
    """Remembers every pair of every support, and counts the queries that it already knows."""

    route = "hoarder"

    def __init__(self):
        self.pairs, self.known = {}, 0

    def personalize(self, support: Support):
        self.pairs |= dict(zip(support.utterances, support.emotions, strict=True))
        return self

    def predict_proba(self, utterances):
        self.known += len(self.pairs.keys() & set(utterances))
        return super().predict_proba(utterances)


def test_a_method_does_not_remember_the_support_of_another_seed(case, tmp_path, monkeypatch):
    """A query of one seed may be in another seed's support, from the same person with the same label."""
    by_person = {}
    for episode in case.episode_file.episodes:
        by_person.setdefault(episode.person, []).append(episode)
    first, second = next(
        two
        for two in by_person.values()
        if len(two) == 2 and set(two[0].support.utterances) & set(two[1].query_utterances)
    )
    replace(case.episode_file, episodes=(first, second), validation_episodes=()).save(
        tmp_path / "episodes.json"
    )
    hoarders = []

    def build(name, context):
        hoarders.append(Hoarder())
        return hoarders[-1]

    monkeypatch.setattr(module, "build_method", build)
    run_cells(replace(case, episodes=tmp_path / "episodes.json", methods=("random",)), tmp_path / "out")
    assert [hoarder.known for hoarder in hoarders] == [0, 0]


def test_thresholds_are_chosen_once_for_all_cells_of_a_method(case, tmp_path, monkeypatch):
    """They are chosen again where the model has changed, or where nothing is kept."""
    chosen = []
    original = module.choose_thresholds
    monkeypatch.setattr(module, "choose_thresholds", lambda *given: chosen.append(1) or original(*given))

    def build(name, context):
        context.folder("mine")
        return Uniform()

    monkeypatch.setattr(module, "build_method", build)
    (case.models / "mine").mkdir(parents=True)
    (case.models / "mine" / "weights").write_text("1")
    one, folder = replace(case, methods=("random",)), tmp_path / "predictions"
    run_cells(one, folder)
    found = [read_metadata(folder / cell.file)["thresholds"] for cell in one.cells]
    assert len(chosen) == 1
    assert found[0] == found[1]
    assert found[0]
    (folder / one.cells[1].file).unlink()
    run_cells(one, folder)
    assert len(chosen) == 1
    (case.models / "mine" / "weights").write_text("2")
    run_cells(one, folder)
    assert len(chosen) == 2
    run_cells(one, folder, resume=False)
    assert len(chosen) == 3


def test_a_damaged_file_of_thresholds_is_made_again(case, tmp_path):
    one, folder = replace(case, methods=("random",)), tmp_path / "predictions"
    run_cells(one, folder)
    file = module.thresholds_file(one.cells[0], folder)
    before = file.read_text()
    file.write_text(before[: len(before) // 2])
    for cell in one.cells:
        (folder / cell.file).unlink()
    run_cells(one, folder)
    assert file.read_text() == before


def test_cells_can_be_measured_as_soon_as_their_own_models_are_trained(case, measured, tmp_path):
    methods = ("random", "entire-zero", "entire-zero+prior-shift", "meta-perser:paper", "speech-lm-8")
    several, folder = replace(case, methods=methods), tmp_path / "predictions"

    def ready(*models):
        return list(cells_of_trained(several, folder, models))

    assert ready() == []
    on_ssl_e = [f"bench {name} (seed {seed})" for name in methods[1:3] for seed in (0, 1)]
    assert ready("ssl-e") == on_ssl_e
    assert ready("ssl-e", "meta-perser") == on_ssl_e, "the ablation has a model of its own"
    assert ready("meta-perser-paper") == [f"bench meta-perser:paper (seed {seed})" for seed in (0, 1)]
    assert ready("speech-lm") == [f"bench speech-lm-8 (seed {seed})" for seed in (0, 1)]


def test_a_cell_that_was_measured_beside_a_training_is_finished(of_ssl_e, measured, tmp_path):
    one, folder = of_ssl_e, tmp_path / "predictions"
    for measure in cells_of_trained(one, folder, ["ssl-e"]).values():
        measure()
    assert measured == one.cells
    assert cells_of_trained(one, folder, ["ssl-e"]) == {}
    measured.clear()
    run_cells(one, folder)
    assert measured == []


def test_several_episodes_files_are_measured_separately(case, tmp_path):
    other = tmp_path / "episodes-missing.json"
    replace(case.episode_file, mode="missing").save(other)
    out = tmp_path / "out"
    bench(case.corpus, [case.episodes, other], case.models, out=out, methods=list(case.methods))
    assert {path.name for path in out.glob("scores*")} == {"scores-usual.json", "scores-missing.json"}
    assert (out / "predictions-missing" / "random" / "seed-0.parquet").is_file()
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["scenario"] for row in rows} == {"unseen", "unseen (missing enrollment)"}
    provenance = json.loads((out / "provenance.json").read_text())
    assert all(part["versions"]["torch"] for part in provenance.values())
    costs = json.loads((out / "costs.json").read_text())
    assert {(row["method"], row["scenario"]) for row in costs} == {
        (row["method"], row["scenario"]) for row in rows
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no --corpus, --episodes, --models"),
        ({"limit": 0}, "limit: 0"),
        ({"experiments": [Path("configs/quickstart.yaml")], "models": Path("m")}, "leave yours out"),
    ],
)
def test_options_that_do_not_say_what_to_measure_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        bench(**options)


def test_two_processes_divide_the_cells_and_give_the_same_results(case, tmp_path):
    """The command in one process and in two."""
    methods = ["random", "nothing", "most-frequent"]
    options = ["--corpus", case.corpus, "--episodes", case.episodes, "--models", case.models]
    options += ["--cache", case.cache, "--methods", f"[{', '.join(methods)}]", "--out"]
    single, double = tmp_path / "single", tmp_path / "double"
    bench(case.corpus, case.episodes, case.models, out=single, methods=methods)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [sys.executable, *launch, "benchmarks.run", *map(str, options), str(double)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    files = [sorted(path.relative_to(run) for path in run.rglob("*.parquet")) for run in (single, double)]
    assert files[0] == files[1]
    assert len(files[0]) == 6
    contents = [json.loads((run / "results.json").read_text()) for run in (single, double)]
    for content in contents:
        for row in content["rows"]:
            del row["seconds_personalize"], row["seconds_predict"]
    assert contents[0] == contents[1]
