"""Cells are measured once, shared among processes, and kept as predictions that every figure follows from."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.measuring import cells as module
from benchmarks.measuring.cells import Case, Cell, is_finished, model_digest, run_cells
from benchmarks.measuring.measure import predictions_of, write_scores
from benchmarks.measuring.predictions import Predictions, read_metadata
from benchmarks.measuring.scores import Scores
from benchmarks.run import bench
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.personalizer import Personalizer

METHODS = ("random", "most-frequent")


@pytest.fixture
def case(toy_corpus, toy_episodes_path, tmp_path):
    return Case(toy_corpus.folder, toy_episodes_path, tmp_path / "models", tmp_path / "cache", METHODS)


@pytest.fixture
def measured(monkeypatch):
    """The cells that are measured, in order, as they are."""
    found = []
    original = module.run_cell

    def noted(case, cell, folder):
        found.append(cell)
        original(case, cell, folder)

    monkeypatch.setattr(module, "run_cell", noted)
    return found


def test_a_cell_is_a_method_on_a_seed_and_is_measured_once(case, measured, tmp_path):
    run_cells(case, tmp_path / "predictions")
    assert measured == [Cell(method, seed) for method in METHODS for seed in (0, 1)]
    for cell in measured:
        assert (tmp_path / "predictions" / cell.file).is_file()
    measured.clear()
    run_cells(case, tmp_path / "predictions")
    assert measured == []
    run_cells(case, tmp_path / "predictions", resume=False)
    assert len(measured) == 4


def test_only_what_is_missing_or_damaged_is_measured_again(case, measured, tmp_path):
    folder = tmp_path / "predictions"
    run_cells(case, folder)
    gone, cut = Cell("random", 1), Cell("most-frequent", 0)
    (folder / gone.file).unlink()
    content = (folder / cut.file).read_bytes()
    (folder / cut.file).write_bytes(content[: len(content) // 2])
    measured.clear()
    run_cells(case, folder)
    assert measured == [gone, cut]


def test_a_file_that_is_damaged_inside_says_so(case, tmp_path):
    run_cells(case, tmp_path)
    path = tmp_path / Cell("random", 0).file
    content = bytearray(path.read_bytes())
    content[4:204] = bytes(200)  # its beginning and its end, where the metadata is, are whole
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"seed-0.parquet is damaged .* delete it"):
        Predictions.load(path)


def test_other_episodes_make_other_cells(case, measured, tmp_path):
    run_cells(case, tmp_path / "predictions")
    measured.clear()
    run_cells(replace(case, limit=2), tmp_path / "predictions")
    assert measured == [Cell(method, 0) for method in METHODS]
    table = pq.read_table(tmp_path / "predictions" / measured[0].file)
    assert len(set(table["episode_id"].to_pylist())) == 2


class Listener(Personalizer):
    """A method with a model in a folder."""

    route = "mine"

    def personalize(self, support):
        return self

    def predict_proba(self, utterances):
        return np.full((len(utterances), 4), 0.25, dtype=np.float32)


def test_a_changed_model_is_measured_again_and_another_models_change_is_not(case, tmp_path, monkeypatch):
    def build(name, context):
        context.folder("mine")
        return Listener()

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


def test_a_digest_is_of_names_and_contents(tmp_path):
    assert model_digest(tmp_path / "nothing") == ""
    (tmp_path / "a").write_text("1")
    first = model_digest(tmp_path)
    (tmp_path / "a").write_text("2")
    second = model_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, model_digest(tmp_path)}) == 3


def test_predictions_round_trip(case, tmp_path):
    run_cells(case, tmp_path)
    path = tmp_path / Cell("random", 1).file
    kept, asked = Predictions.load(path), case.asked[1]
    assert list(kept.episodes) == [one.episode_id for one in asked]
    assert kept.emotions == case.prepared.emotions.names
    table = pq.read_table(path)
    assert table["utterance_id"].to_pylist() == [one for each in asked for one in each.query_utterances]
    assert table["heard"].to_pylist() == [list(one) for each in asked for one in each.query_emotions]
    together = np.concatenate([one.probabilities for one in kept.answers])
    assert together.dtype == np.float32
    assert together.shape == (len(table), 4)
    np.testing.assert_array_equal(table["probability_happy"].to_numpy(), together[:, 1])


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_file_that_is_no_predictions_says_so(content, tmp_path):
    path = tmp_path / "seed-0.parquet"
    if content is None:
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        path.write_bytes(content)
    assert read_metadata(path) is None
    with pytest.raises(UserError, match="no file of predictions"):
        Predictions.load(path)


def test_every_metric_of_the_paper_follows_from_the_predictions(case, tmp_path):
    """By scikit-learn alone, from the Parquet files alone."""
    write_scores(case, tmp_path / "scores.json")
    measured = Scores.load(tmp_path / "scores.json")
    for method in measured.methods:
        table = pa.concat_tables(
            [pq.read_table(path) for path in sorted((tmp_path / "predictions" / method.method).glob("*"))]
        )
        names = [one for one in table.column_names if one.startswith("probability_")]
        probabilities = np.stack([table[one].to_numpy() for one in names], axis=1)
        heard = np.array(
            [[one.removeprefix("probability_") in row for one in names] for row in table["heard"].to_pylist()]
        )
        said = probabilities > 1 / len(names)
        episodes = np.array(table["episode_id"].to_pylist())
        for episode in method.episodes:
            rows = episodes == episode.episode_id
            truth, guess = heard[rows], said[rows]
            expected = {
                "maF1": f1_score(truth, guess, average="macro", zero_division=0),
                "miF1": f1_score(truth, guess, average="micro", zero_division=0),
                "label_accuracy": accuracy_score(truth.ravel(), guess.ravel()),
            }
            for name, value in expected.items():
                assert episode.metrics[name] == pytest.approx(value, abs=1e-9)


def test_confusion_and_reliability_count_every_utterance(case, tmp_path):
    write_scores(case, tmp_path / "scores.json")
    utterances = sum(len(one.query_utterances) for one in case.drawn.episodes)
    for method in Scores.load(tmp_path / "scores.json").methods:
        assert np.sum(method.confusion) == pytest.approx(utterances, abs=1e-3)
        assert np.array(method.reliability)[:, 0].sum() == utterances


HOLDS_LABELS = (Episode, EpisodeFile, Task, Corpus)


class Cheat(Personalizer):
    """Looks for labels in everything that it is given, and in all that hangs on it."""

    route = "cheat"

    def __init__(self, context):
        self.found = reachable(context)

    def personalize(self, support: Support):
        self.found |= reachable(support)
        return self

    def predict_proba(self, utterances):
        self.found |= reachable(utterances)
        return np.full((len(utterances), 4), 0.25, dtype=np.float32)


def reachable(start) -> set[str]:
    """The kinds of label-holding objects that can be reached from an object, modules and classes apart."""
    seen, todo, found = set(), [start], set()
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | type(sys) | type(reachable)):
            continue
        seen.add(id(one))
        if isinstance(one, HOLDS_LABELS):
            found.add(type(one).__name__)
        todo.extend(gc.get_referents(one))
    return found


def test_a_method_that_looks_for_the_query_labels_does_not_find_them(case, tmp_path, monkeypatch):
    cheats = []

    def build(name, context):
        cheats.append(Cheat(context))
        return cheats[-1]

    monkeypatch.setattr(module, "build_method", build)
    run_cells(case, tmp_path / "predictions")
    assert len(cheats) == len(case.cells)
    assert all(one.found == set() for one in cheats)
    assert reachable(case.asked) == {"Episode"}, "and it would find them if they were there"


class Hoarder(Listener):
    """Keeps every pair that it was ever shown, and looks up there what it is asked about."""

    route = "hoarder"

    def __init__(self):
        self.shown, self.known = {}, 0

    def personalize(self, support: Support):
        self.shown |= dict(zip(support.utterances, support.emotions, strict=True))
        return self

    def predict_proba(self, utterances):
        self.known += len(self.shown.keys() & set(utterances))
        return super().predict_proba(utterances)


def test_what_a_person_said_in_one_seed_is_not_there_when_another_seed_asks(case, tmp_path, monkeypatch):
    """A query of one seed may be another seed's support, of the same person with the same label."""
    by_person = {}
    for one in case.drawn.episodes:
        by_person.setdefault(one.person, []).append(one)
    first, second = next(
        two
        for two in by_person.values()
        if len(two) == 2 and set(two[0].support.utterances) & set(two[1].query_utterances)
    )
    drawn = replace(case.drawn, episodes=(first, second))
    drawn.save(tmp_path / "episodes.json")
    hoarders = []

    def build(name, context):
        hoarders.append(Hoarder())
        return hoarders[-1]

    monkeypatch.setattr(module, "build_method", build)
    run_cells(replace(case, episodes=tmp_path / "episodes.json", methods=("random",)), tmp_path / "out")
    assert [one.known for one in hoarders] == [0, 0]


def test_kept_cells_say_with_which_code_they_were_measured(case, tmp_path, monkeypatch):
    """Not the code that only put their scores together."""
    out = tmp_path / "scores.json"
    for commit, methods, said in (
        ("first", ("random",), "first"),
        ("second", ("random",), "first"),
        ("second", METHODS, ["first", "second"]),
    ):
        monkeypatch.setattr("perser.environment.git_commit", lambda commit=commit: commit)
        write_scores(replace(case, methods=methods), out)
        assert Scores.load(out).provenance["commit"] == said


def test_several_files_of_episodes_are_measured_apart(case, tmp_path):
    other = tmp_path / "episodes-missing.json"
    replace(case.drawn, mode="missing").save(other)
    out = tmp_path / "out"
    bench(case.corpus, [case.episodes, other], case.models, out=out, methods=list(METHODS))
    assert {one.name for one in out.glob("scores*")} == {"scores-usual.json", "scores-missing.json"}
    assert (out / "predictions-missing" / "random" / "seed-0.parquet").is_file()
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["scenario"] for row in rows} == {"unseen", "unseen (missing enrollment)"}
    origin = json.loads((out / "provenance.json").read_text())
    assert all(one["versions"]["torch"] for one in origin.values())
    costs = json.loads((out / "costs.json").read_text())
    assert {(one["method"], one["scenario"]) for one in costs} == {
        (row["method"], row["scenario"]) for row in rows
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no --corpus, --episodes, --models"),
        ({"limit": 0}, "limit: 0"),
        ({"experiments": [Path("configs/quickstart.yaml")], "models": Path("m")}, "leave yours out"),
    ],
)
def test_what_does_not_say_what_to_measure_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        bench(**given)


def test_two_processes_share_the_cells_and_give_the_same(case, tmp_path):
    """One alone and two together, through the command."""
    names = "[random, nothing, most-frequent]"
    options = ["--corpus", case.corpus, "--episodes", case.episodes, "--models", case.models]
    options += ["--cache", case.cache, "--methods", names, "--out"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    bench(case.corpus, case.episodes, case.models, out=alone, methods=["random", "nothing", "most-frequent"])
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [sys.executable, *launch, "benchmarks.run", *map(str, options), str(together)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    files = [sorted(one.relative_to(run) for one in run.rglob("*.parquet")) for run in (alone, together)]
    assert files[0] == files[1]
    assert len(files[0]) == 6
    contents = [json.loads((one / "results.json").read_text()) for one in (alone, together)]
    for content in contents:
        for row in content["rows"]:
            del row["seconds_personalize"], row["seconds_predict"]
    assert contents[0] == contents[1]


def test_the_predictions_lie_beside_their_scores():
    assert predictions_of(Path("run/scores.json")) == Path("run/predictions")
    assert predictions_of(Path("run/scores-k8.json")) == Path("run/predictions-k8")
    assert predictions_of(Path("run/scores.json"), limit=2) == Path("run/predictions-first-2")
