"""An experiment that trains on one corpus and measures on others (`test_on`)."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
import yaml

from benchmarks.experiment import experiment
from benchmarks.experiments.options import QUICKSTART, read_experiment
from benchmarks.run import bench
from perser.cli.main import main
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


def test_the_report_shows_in_corpus_and_cross_corpus_side_by_side(speakers):
    results = json.loads((speakers / "results.json").read_text())
    means = {(row["corpus"], row["method"]): row["metrics"]["log_loss"]["mean"] for row in results["rows"]}
    for page in ("report.md", "report.html"):
        text = (speakers / page).read_text()
        assert "In-corpus and cross-corpus: Trained on manifest, personalized to the speaker" in text
        for heading in ("manifest: in-corpus, speaker", "manifest (abroad): cross-corpus, test-speakers"):
            assert heading in text
    lines = (speakers / "report.md").read_text().split("## In-corpus")[1].split("## ")[0].splitlines()
    row = next(line for line in lines if line.startswith("| meta-perser "))
    own, other = (means[corpus, "meta-perser"] for corpus in ("manifest", "manifest (abroad)"))
    assert row.split("|")[2].split()[0] == f"{own:.3f}"
    assert row.split("|")[3].split()[0] == f"{other:.3f}"


def test_the_figures_are_those_of_bench_on_the_same_models(speakers, tmp_path):
    """Measured by hand: `perser bench` with the trained models, the corpus and the episodes."""
    other = speakers / "test_on" / "abroad"
    bench(
        corpus=other / "corpus",
        episodes=other / "episodes.json",
        models=speakers / "models",
        out=tmp_path / "bench",
        methods=["entire-zero", "speech-lm-2"],
    )
    by_hand = rows_by_corpus(tmp_path / "bench")["manifest (abroad)"]
    own = {row["method"]: row["metrics"] for row in rows_by_corpus(speakers)["manifest (abroad)"]}
    for row in by_hand:
        for metric in ("log_loss", "maF1", "miF1"):
            assert row["metrics"][metric]["mean"] == pytest.approx(
                own[row["method"]][metric]["mean"], abs=1e-6
            )


def test_finished_corpora_are_skipped_and_a_further_one_trains_nothing_again(speakers, tables, capsys):
    further = write_manifest(tables["home"].parent.parent / "further", ["f1"], ("angry", "sad"), 6, ("f",), 5)
    chosen = options(
        tables, speakers, [entry(tables["abroad"]), entry(further)], draw__split__scenario="speaker"
    )
    experiment(**chosen)
    messages = capsys.readouterr().err.splitlines()
    started = [line.partition(":")[0] for line in messages if line.endswith(": started")]
    assert started == [f"test_on further {name}" for name in ("prepare", "emotions", "episodes", "bench")]
    assert set(rows_by_corpus(speakers)) == {"manifest", "manifest (abroad)", "manifest (further)"}


def test_listeners_of_a_prepared_folder_answer_for_themselves(tables, tmp_path):
    prepare("manifest", tmp_path / "abroad-prepared", root=tables["abroad"])
    chosen = options(
        tables, tmp_path / "run", [str(tmp_path / "abroad-prepared")], bench__methods=["entire-zero"]
    )
    experiment(**chosen)
    rows = rows_by_corpus(tmp_path / "run")["manifest (abroad-prepared)"]
    assert [(row["scenario"], row["persons"]) for row in rows] == [("test-listeners", 2)]
    corpus = Corpus.load(tmp_path / "run" / "test_on" / "abroad-prepared" / "corpus")
    assert corpus.card["dropped"] == {"answers of surprise (manifest has no such emotion)": 16}


def test_open_labels_keep_all_emotions_even_unknown_ones(tables, tmp_path):
    methods = ["random", "entire-zero", "head-few", "meta-perser", "speech-lm-2"]
    chosen = options(
        tables,
        tmp_path / "run",
        [entry(tables["strange"], q=8)],
        draw__split__scenario="speaker",
        test_labels="open",
        bench__methods=methods,
    )
    experiment(**chosen)
    rows = rows_by_corpus(tmp_path / "run")["manifest (strange)"]
    assert {row["method"] for row in rows} == {"random", "head-few", "meta-perser", "speech-lm-2"}
    assert {row["scenario"] for row in rows} == {"test-open"}
    assert set(rows[0]["emotions"]) == {"surprise", "calm", "angry"}


@pytest.mark.parametrize(
    ("test_on", "changes", "message"),
    [
        (["strange"], {}, r"strange.*have only 'angry' in common"),
        (["mixed"], {"draw__split__scenario": "speaker"}, r"mixed has the speaker h4.*trained on"),
        (["mixed"], {}, r"mixed has the speaker h4"),
        (["abroad", "abroad"], {}, r"abroad-2 is given twice"),
        (["home"], {}, r"home is given twice.*trained on"),
        ([{"corpus": "manifest", "rot": "x"}], {}, r"test_on\[0\]\.rot.*did you mean root"),
        ([{"corpus": "manifestt"}], {}, r"unknown corpus 'manifestt'"),
        ([{"root": "x"}], {}, r"no corpus and no folder"),
        (["/no/such/folder"], {}, r"/no/such/folder is not a prepared corpus"),
        ([{"folder": "x", "q": 0}], {}, r"test_on\[0\]\.q: 0"),
        (["abroad"], {"test_labels": "open"}, r"test_labels: open labels.*speakers alone"),
        (["abroad"], {"bench__methods": ["oracle"]}, r"oracle"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_any_work(test_on, changes, message, tables, tmp_path):
    entries = [entry(tables[each]) if str(each) in tables else each for each in test_on]
    with pytest.raises(UserError, match=message) as caught:
        experiment(**options(tables, tmp_path / "run", entries, **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_is_too_small_is_named_before_the_first_training(tables, tmp_path, capsys):
    with pytest.raises(UserError, match=r"test_on \(abroad\): K \+ Q = 4 \+ 60"):
        experiment(**options(tables, tmp_path / "run", [entry(tables["abroad"], q=60)]))
    assert "train: started" not in capsys.readouterr().err


def test_the_same_recordings_under_other_names_are_noticed_before_the_first_training(
    tables, tmp_path, capsys
):
    copies = tmp_path / "copies"
    copies.mkdir()
    with tables["home"].open() as stream, (copies / "copies.csv").open("w", newline="") as written:
        rows = csv.writer(written)
        for number, (path, speaker, listener, emotions) in enumerate(csv.reader(stream)):
            new = path
            if number:
                new = copies / path.rpartition("/")[2].replace("h", "c", 1)
                shutil.copy(path, new)
            rows.writerow([new, speaker.replace("h", "c", 1), listener.replace("l1", "x"), emotions])
    text = (copies / "copies.csv").read_text().replace(",l", ",y").replace("pypath", "path")
    (copies / "copies.csv").write_text(text.replace("speaker,yistener", "speaker,listener"))
    with pytest.raises(UserError, match="has the recording"):
        experiment(**options(tables, tmp_path / "run", [entry(copies / "copies.csv")]))
    assert "train: started" not in capsys.readouterr().err


def test_the_program_takes_folders_on_the_command_line(tables, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            ["experiment", "--config", str(QUICKSTART), "--out", str(tmp_path / "run"), "--test_on", "/no/b"]
        )
    assert "/no/b is not a prepared corpus" in capsys.readouterr().err
