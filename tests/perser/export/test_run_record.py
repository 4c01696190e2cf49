"""What a run's files say about a model is used only if it is about these weights and this training."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from perser.export.run_record import NO_RUN, RunRecord, record_of
from perser.io.checksums import weights_sha256
from perser.route import Exported

METHODS = ("speech-lm-8", "speech-lm-32+orders=4", "speech-lm-8:small", "meta-perser", "meta-perser:no-da")


@pytest.fixture
def run(tmp_path, toy_corpus, toy_episodes):
    """A measured run with two models of each of two kinds."""
    folder = tmp_path / "run"
    shutil.copytree(toy_corpus.folder, folder / "corpus", ignore=shutil.ignore_patterns("audio"))
    toy_episodes.save(folder / "episodes.json")
    weights = {}
    for number, name in enumerate(("speech-lm", "speech-lm-small", "meta-perser", "meta-perser-no-da")):
        (folder / "models" / name).mkdir(parents=True)
        save_file({"weights": np.full(3, number)}, folder / "models" / name / "w.safetensors")
        weights[name] = weights_sha256(folder / "models" / name)
    rows = [{"method": method, "route": "some"} for method in METHODS]
    rows.append({"method": "random", "route": "trivial"})
    (folder / "results.json").write_text(json.dumps({"meta": {"simulated": True}, "rows": rows}))
    (folder / "provenance.json").write_text(json.dumps({"scores.json": {"weights": weights}}))
    return folder


@pytest.fixture
def exported(toy_episodes):
    methods = {"speech-lm": ("speech-lm",), "meta-perser": ("meta-perser",)}
    return Exported("", "", methods, toy_episodes.training_digest)


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("speech-lm", METHODS[:2]),
        ("speech-lm-small", METHODS[2:3]),
        ("meta-perser", METHODS[3:4]),
        ("meta-perser-no-da", METHODS[4:]),
    ],
)
def test_the_rows_of_a_model_are_found_with_those_of_trivial_methods(name, methods, run, exported):
    record = record_of(run / "models" / name, None, exported)
    assert tuple(row["method"] for row in record.rows) == (*methods, "random")
    assert record.meta == {"simulated": True}
    moved = shutil.copytree(run / "models" / name, run.parent / "other-name")
    assert record_of(moved, run, exported) == record


def test_results_of_other_weights_are_left_out(run, exported):
    save_file({"weights": np.zeros(9)}, run / "models" / "speech-lm" / "w.safetensors")
    record = record_of(run / "models" / "speech-lm", None, exported)
    assert (record.rows, record.meta) == ((), {})
    assert "not of these weights" in record.unmeasured
    (run / "results.json").unlink()
    assert "no results.json" in record_of(run / "models" / "speech-lm", None, exported).unmeasured


def test_the_training_is_recorded_where_it_is_known(run, exported, toy_corpus, toy_episodes):
    record = record_of(run / "models" / "speech-lm", None, exported)
    assert (record.corpus["name"], record.corpus["simulated"]) == ("toy", True)
    assert record.persons == (len(toy_episodes.split.persons["train"]), "listener")
    (run / "corpus" / "corpus.json").write_text("{}")
    assert record_of(run / "models" / "speech-lm", None, exported).corpus == {"name": "toy"}
    for digest in ("another", None):
        other = Exported("", "", {}, digest)
        assert record_of(run / "models" / "speech-lm", None, other).corpus == {}


def test_results_in_a_subfolder_are_found(run, exported):
    (run / "results").mkdir()
    for name in ("results.json", "provenance.json"):
        (run / name).rename(run / "results" / name)
    assert record_of(run / "models" / "speech-lm", None, exported).rows
    assert record_of(run / "models" / "speech-lm", run / "results", exported).persons


def test_nothing_is_known_without_a_run():
    assert RunRecord().unmeasured == NO_RUN
