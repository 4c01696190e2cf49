"""What version 0.1.0 saved is still read: models, profiles, measured cells, and trainings that were stopped.

`tests/saved/version_0_1_0.zip` holds a run of that version on short tones, with a tiny encoder and a tiny
language model: `corpus`, `episodes.json`, `models`, `*.profile`, `results`, trainings that SIGTERM ended in
`stopped`, and in `finished` what the same version made of them when it went on.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from benchmarks.measuring.cells import Case, is_finished
from benchmarks.results import write_results
from perser.cli.main import main
from perser.inference.recognizer import PersonalRecognizer

ARCHIVE = Path(__file__).with_name("saved") / "version_0_1_0.zip"
METHODS = ("random", "entire-zero", "prior-shift", "meta-perser", "speech-lm-4")
DATA = ["--corpus", "corpus", "--episodes", "episodes.json", "--cache", "cache"]


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The run of version 0.1.0, in the current folder: its files name each other by relative paths."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["ssl-e", "meta-perser", "speech-lm"])
def test_models_and_profiles_give_the_same_answers(saved, name):
    answers = json.loads(Path("answers.json").read_text())[name]
    personal = PersonalRecognizer.load(f"{name}.profile", model=f"models/{name}", device="cpu")
    predictions = personal.predict([row["path"] for row in answers])
    for prediction, before in zip(predictions, answers, strict=True):
        for now, then in ((prediction, before), (prediction.unadapted, before["unadapted"])):
            assert list(now.probabilities) == list(then["probabilities"])
            np.testing.assert_allclose(
                list(now.probabilities.values()), list(then["probabilities"].values()), atol=1e-5
            )


def test_measured_cells_are_kept_and_a_report_is_made_of_their_scores(saved):
    case = Case(Path("corpus"), Path("episodes.json"), Path("models"), Path("cache"), METHODS)
    assert [
        cell.method for cell in case.cells if not is_finished(case, cell, Path("results/predictions"))
    ] == []
    before = json.loads(Path("results/results.json").read_text())
    write_results([Path("results/scores.json")], Path("again"), "again")
    now = json.loads(Path("again/results.json").read_text())
    assert now["rows"] == before["rows"]
    differences = [{key: row[key] for key in row if key != "adjusted"} for row in now["differences"]]
    assert differences == before["differences"]  # version 0.1.0 adjusted no interval


TRAININGS = {
    "ssl-e": [
        *[
            "pretrain",
            *DATA,
            "--encoder",
            "encoder",
            "--epochs",
            "4",
            "--batch_size",
            "8",
            "--head_size",
            "8",
        ],
        *["--adaptation_steps", "3", "--selection", "maF1"],
    ],
    "meta-perser": [
        *["meta-train", *DATA, "--ssl_e", "models/ssl-e", "--scope", "head", "--inner.steps", "2"],
        *["--inner.support", "4", "--inner.adaptation_steps", "3", "--outer.steps", "8"],
        *["--outer.batch_size", "2", "--outer.validate_every", "2", "--selection", "maF1"],
        *["--lslr.beyond", "last", "--lslr.relative", "false"],  # these were the defaults
        *["--derivative_annealing.by", "off", "--outer.rates_learning_rate", "0.001"],
    ],
    "speech-lm": [
        *["icl-train", *DATA, "--encoder", "encoder", "--language_model", "llama", "--steps", "8"],
        *[
            "--batch_size",
            "4",
            "--pairs",
            "4",
            "--validation_sequences",
            "4",
            "--validate_every",
            "2",
        ],
        *[
            "--projector.width",
            "8",
            "--projector_steps",
            "4",
            "--prompt.bind",
            "false",
            "--label_words",
            "own",
            "--projector_mixup",
            "0",
        ],
    ],
}
"""The commands, in this version's words, that version 0.1.0 was stopped in."""
WEIGHTS = {
    "ssl-e": {"recogniser.safetensors": "ssl-e.safetensors"},
    "meta-perser": {
        "recogniser.safetensors": "meta-perser.safetensors",
        "rates.safetensors": "meta-perser-rates.safetensors",
    },
    "speech-lm": {"projector.safetensors": "speech-lm.safetensors"},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_stopped_training_goes_on_to_the_same_weights_and_losses(saved, name, capsys):
    out = Path("stopped") / name
    main([*TRAININGS[name], "--out", str(out)])
    assert "going on after step" in capsys.readouterr().err
    for file, before in WEIGHTS[name].items():
        now, then = load_file(out / file), load_file(Path("finished") / before)
        assert now.keys() == then.keys()
        for key, value in then.items():
            np.testing.assert_allclose(now[key], value, atol=1e-4, err_msg=f"{file}: {key}")
    losses = [_losses(out / "metrics.jsonl"), _losses(Path("finished") / f"{name}.jsonl")]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def _losses(log: Path) -> list[float]:
    return [line["loss"] for line in map(json.loads, log.read_text().splitlines()) if "loss" in line]
