"""The command on the toy corpus, with models that were trained on it for a moment and with none."""

from __future__ import annotations

import json

import pytest

from benchmarks.few_shot.__main__ import few_shot
from benchmarks.few_shot.measure import METHODS
from meta_perser.options import InnerOptions, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from perser.errors import UserError
from speechlm_icl.train import icl_train


@pytest.fixture(scope="module")
def run(toy_corpus, toy_episodes_path, tmp_path_factory):
    """The folder of a run with both models."""
    folder = tmp_path_factory.mktemp("run")
    shared = {"corpus": toy_corpus.folder, "episodes": toy_episodes_path, "cache": folder / "cache"}
    models = folder / "models"
    pretrain(
        **shared,
        out=models / "ssl-e",
        encoder="tiny-whisper",
        epochs=20,
        batch_size=16,
        head_size=16,
        learning_rate=3e-3,
        adaptation_steps=6,
    )
    meta_train(
        **shared,
        ssl_e=models / "ssl-e",
        out=models / "meta-perser",
        scope="head",
        inner=InnerOptions(steps=3, support=8, adaptation_steps=6),
        outer=OuterOptions(steps=4, batch_size=2, validate_every=4),
    )
    encoder = str(models / "ssl-e" / "encoder")
    icl_train(**shared, out=models / "speech-lm", encoder=encoder, steps=3, batch_size=2, pairs=6)
    return folder


def measured(run, toy_corpus, out, **options):
    few_shot(
        corpus=toy_corpus.folder,
        json=out / "few.json",
        cache=run / "cache",
        device="cpu",
        **{"model": str(run), "shots": "1,2", "draws": 2} | options,
    )
    return json.loads((out / "few.json").read_text())


def test_all_rows_have_accuracies_with_intervals(run, toy_corpus, tmp_path, capsys):
    found = measured(run, toy_corpus, tmp_path, pairs="0,4", labels="invented")
    assert list(found["shots"]) == ["1", "2"]
    for rows in found["shots"].values():
        assert set(rows) == set(METHODS)
        for row in rows.values():
            assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
    nothing = found["pairs"]["0"]
    assert nothing["speech-lm"] is not None
    assert all(nothing[method] is None for method in METHODS if method != "speech-lm")
    assert found["shots"]["2"]["meta-perser"]["mean"] > 0.4
    assert set(found["ahead"]["shots"]["1"]) == set(METHODS) - {"speech-lm"}
    assert found["settings"]["shots"]["1"]["chance"] == pytest.approx(0.25)
    assert "1 a class" in capsys.readouterr().out


def test_features_can_be_standardized_by_the_enrolled_clips(run, toy_corpus, tmp_path):
    rows = measured(run, toy_corpus, tmp_path, shots="1", standardize="enrolled")["shots"]["1"]
    assert all(0 <= rows[method]["mean"] <= 1 for method in METHODS)
    plain = measured(run, toy_corpus, tmp_path, shots="1", standardize="model")["shots"]["1"]
    assert rows["nearest-mean"] == plain["nearest-mean"], "ordinary classifiers read the same features"


def test_speakers_of_the_training_are_left_out(run, toy_corpus, toy_episodes, tmp_path):
    found = measured(run, toy_corpus, tmp_path)
    met = {
        toy_corpus.utterances[name].speaker
        for subset in ("train", "validation")
        for task in toy_episodes.tasks(toy_corpus, subset)
        for name in task.utterances
    }
    assert found["settings"]["shots"]["1"]["persons"] == 8 - len(met)
    assert any(f"met them in training: {len(met)} speakers" in note for note in found["notes"])


def test_rows_that_a_model_cannot_give_are_null(run, toy_corpus, tmp_path):
    found = measured(
        run, toy_corpus, tmp_path, model=str(run / "models" / "meta-perser"), standardize="model"
    )
    rows = found["shots"]["1"]
    assert rows["speech-lm"] is None
    assert rows["shuffled"] is None
    assert rows["meta-perser"] is not None
    assert rows["logistic-regression"] is not None


def test_the_same_seed_gives_the_same_figures(run, toy_corpus, tmp_path):
    (tmp_path / "again").mkdir()
    assert measured(run, toy_corpus, tmp_path) == measured(run, toy_corpus, tmp_path / "again")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"shots": "1,x"}, "shots: '1,x' is no list of whole numbers from 1"),
        ({"shots": "0"}, "shots: '0' is no list of whole numbers from 1"),
        ({"shots": ""}, "nothing to measure"),
        ({"draws": 0}, "draws: 0, give at least 1"),
        ({"emotions": "joy,sad"}, "unknown emotion 'joy'"),
        ({"emotions": "sad"}, "only sad, give at least two"),
        ({"shots": "500"}, "nobody has more than 500 clips"),
        ({"model": "nowhere"}, "no model 'nowhere'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, problem, run, toy_corpus, tmp_path):
    with pytest.raises(UserError, match=problem):
        measured(run, toy_corpus, tmp_path, **options)
    assert not (tmp_path / "few.json").exists()


def test_a_folder_without_models_is_refused(run, toy_corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no speech LM and no Meta-PerSER model"):
        measured(run, toy_corpus, tmp_path, model=str(tmp_path / "empty"))
