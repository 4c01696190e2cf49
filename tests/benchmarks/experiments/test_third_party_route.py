"""A route in a package of its own is trained, measured, exported and used without an edit in this
repository."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from perser.cli.main import main

from ...worked_example import install_package

SOURCE = Path(__file__).with_name("third_party_route.py")
MODULE = "perser_spectra"
FILE = """\
title: A route of somebody else
out: {out}
prepare: {{corpus: manifest, root: {manifest}}}
draw: {{k: 8, q: 8, seeds: 1, split: {{folds: 3, validation_persons: 2, validation_groups: 0}}}}
train_spectra: {{sharpness: 20}}
bench: {{methods: [random, spectra]}}
"""


@pytest.fixture
def file(toy_corpus, tmp_path, monkeypatch) -> Path:
    """The package is installed; the file of an experiment on the toy corpus."""
    source = SOURCE.read_text(encoding="utf-8")
    site = install_package(
        tmp_path / "site", MODULE, source, {"perser.routes": {"spectra": f"{MODULE}:ROUTE"}}
    )
    monkeypatch.syspath_prepend(site)
    manifest = tmp_path / "toy.csv"
    with manifest.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "speaker", "listener", "emotions"])
        for annotation in toy_corpus.annotations:
            name = annotation.utterance_id
            speaker = toy_corpus.utterances[name].speaker
            emotions = ";".join(annotation.emotions)
            rows.writerow([toy_corpus.recordings.path(name), speaker, annotation.listener, emotions])
    path = tmp_path / "experiment.yaml"
    path.write_text(FILE.format(out=tmp_path / "run", manifest=manifest))
    yield path
    sys.modules.pop(MODULE, None)


def test_it_is_trained_measured_exported_and_used(file, toy_corpus, tmp_path, capsys):
    main(["experiment", "--config", str(file)])
    run = tmp_path / "run"
    assert [folder.name for folder in (run / "models").iterdir()] == ["spectra"]
    record = json.loads((run / "stages" / "train spectra.json").read_text())
    assert record["options"]["sharpness"] == 20
    rows = {row["method"]: row for row in json.loads((run / "results.json").read_text())["rows"]}
    assert rows["spectra"]["route"] == "spectra"
    assert rows["spectra"]["metrics"]["maF1"]["mean"] > rows["random"]["metrics"]["maF1"]["mean"] + 0.1
    assert "spectra" in (run / "report.html").read_text()

    main(["export", "--model", str(run / "models" / "spectra"), "--out", str(tmp_path / "mine")])
    assert "| spectra, manifest, unseen | 8 |" in (tmp_path / "mine" / "README.md").read_text()
    capsys.readouterr()
    main(["models", "--folder", str(tmp_path / "mine"), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["route"], tuple(found["emotions"])) == ("spectra", toy_corpus.emotions.names)

    sad, happy = (str(toy_corpus.recordings.path(name)) for name in ("s0-sad-0", "s1-happy-1"))
    main(["predict", "--model", str(tmp_path / "mine"), "--json", "--enroll", f"{sad}=sad", "--", happy])
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["labels"] == ["happy"]


def test_its_wrong_options_are_named_before_anything_runs(file, tmp_path, capsys):
    for option, message in (
        ("--train_spectra.sharpness=0", "train_spectra.sharpness"),
        ("--train_spectra.sharpnes=1", "sharpnes"),
    ):
        with pytest.raises(SystemExit):
            main(["experiment", "--config", str(file), option])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "models").exists()


def test_a_finished_training_is_skipped(file, capsys):
    main(["experiment", "--config", str(file)])
    capsys.readouterr()
    main(["experiment", "--config", str(file)])
    assert "train spectra: finished before, skipped" in capsys.readouterr().err


def test_its_method_is_listed(file, capsys):
    main(["bench", "--list"])
    assert "Spectra: the emotion whose mean spectrum is nearest." in capsys.readouterr().out
