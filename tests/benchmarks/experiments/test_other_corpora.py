"""An experiment that trains on one corpus and measures on others (`test_on`)."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile
import yaml

from benchmarks.experiment import experiment
from benchmarks.experiments.options import QUICKSTART, read_experiment
from perser.cli.main import main  # noqa: F401
from perser.cli.prepare import prepare
from perser.corpora.corpus import Corpus
from perser.errors import UserError

PITCH = {"angry": 440.0, "happy": 330.0, "neutral": 220.0, "sad": 150.0, "surprise": 550.0, "calm": 180.0}
TRAINED = ("angry", "happy", "neutral", "sad")
METHODS = ("random", "most-frequent", "entire-zero", "prior-shift", "head-few", "meta-perser", "speech-lm-2")
SMALL = {
    "workers": 0,
    "draw.k": 4,
    "draw.q": 4,
    "draw.seeds": 2,
    "draw.split.folds": 3,
    "draw.split.validation_persons": 2,
    "draw.split.validation_groups": 0,
    "pretrain.epochs": 2,
    "pretrain.head_size": 16,
    "pretrain.adaptation_steps": 3,
    "meta_train.inner.steps": 2,
    "meta_train.inner.support": 4,
    "meta_train.inner.query": 4,
    "meta_train.inner.adaptation_steps": 3,
    "meta_train.outer.steps": 2,
    "meta_train.outer.batch_size": 2,
    "icl_train.pairs": 4,
    "icl_train.steps": 2,
    "icl_train.projector_steps": 2,
    "icl_train.batch_size": 2,
    "icl_train.validation_sequences": 2,
    "bench.methods": list(METHODS),
}


def write_manifest(folder, people, emotions, clips=4, listeners=("everyone",), seed=0):
    """Write tones of some people, `clips` an emotion, and the table of a corpus with them."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / f"{folder.name}.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "speaker", "listener", "emotions"])
        for person in people:
            for emotion in emotions:
                for number in range(clips):
                    time = np.arange(4800) / 16_000
                    tone = np.sin(2 * np.pi * PITCH[emotion] * rng.uniform(0.95, 1.05) * time)
                    audio = folder / f"{person}-{emotion}-{number}.wav"
                    soundfile.write(audio, 0.2 * tone + 0.02 * rng.standard_normal(len(time)), 16_000)
                    for listener in listeners:
                        rows.writerow([audio, person, listener, emotion])
    return folder / f"{folder.name}.csv"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of corpora: `home`, and `abroad` and `alike` of other people; `mixed` has one of home's."""
    folder = tmp_path_factory.mktemp("tables")
    listeners = ("l1", "l2", "l3", "l4", "l5", "l6")
    home = [f"h{number}" for number in range(9)]
    return {
        "home": write_manifest(folder / "home", home, TRAINED, 3, listeners),
        "abroad": write_manifest(
            folder / "abroad", ["a1", "a2"], ("angry", "sad", "surprise", "neutral"), 4, ("m1", "m2"), 1
        ),
        "mixed": write_manifest(folder / "mixed", ["a3", "h4"], ("angry", "sad"), 6, ("m1",), 2),
        "strange": write_manifest(folder / "strange", ["a4"], ("surprise", "calm", "angry"), 6, ("m1",), 3),
    }


def options(tables, out, test_on, **changes):
    keys = {"base": str(QUICKSTART), "prepare.corpus": "manifest", "prepare.root": str(tables["home"])}
    keys |= {"out": str(out), "test_on": test_on} | SMALL
    keys |= {name.replace("__", "."): value for name, value in changes.items()}
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(keys))
    return read_experiment(file)


def entry(table, **more):
    return {"corpus": "manifest", "root": str(table), **more}


@pytest.fixture(scope="module")
def speakers(tables, tmp_path_factory):
    """A finished run on the speaker axis."""
    out = tmp_path_factory.mktemp("runs") / "speakers"
    experiment(**options(tables, out, [entry(tables["abroad"])], draw__split__scenario="speaker"))
    return out


def rows_by_corpus(out):
    rows = json.loads((out / "results.json").read_text())["rows"]
    return {
        corpus: [row for row in rows if row["corpus"] == corpus]
        for corpus in dict.fromkeys(row["corpus"] for row in rows)
    }


def test_every_method_is_measured_on_both_corpora(speakers):
    found = rows_by_corpus(speakers)
    assert set(found) == {"manifest", "manifest (abroad)"}
    for rows in found.values():
        assert {row["method"] for row in rows} == set(METHODS)
    assert {(row["scenario"], row["persons"]) for row in found["manifest (abroad)"]} == {("test-speakers", 2)}


def test_what_the_models_do_not_know_is_left_out_with_a_count(speakers):
    corpus = Corpus.load(speakers / "test_on" / "abroad" / "corpus")
    assert corpus.emotions.names == TRAINED
    assert {row.emotions for row in corpus.annotations} == {("angry",), ("sad",), ("neutral",)}
    assert corpus.card["dropped"] == {"utterances of surprise (manifest has no such emotion)": 8}
    assert len(corpus.utterances) == 2 * 3 * 4
    assert "8 utterances of surprise" in (speakers / "report.md").read_text()
