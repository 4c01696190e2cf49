"""Trained models are measured on recordings of one's own: prepare, draw, bench, on both routes."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from perser.cli.main import main
from perser.corpora.corpus import Corpus

ARCHIVE = Path(__file__).parents[1] / "saved" / "version_0_1_0.zip"
METHODS = "[random, entire-zero, meta-perser, speech-lm-4]"
PRETRAIN = ("--encoder", "encoder", "--epochs", "1", "--head_size", "8", "--adaptation_steps", "2")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of version 0.1.0, in the current folder: a corpus of tones, and models of both routes."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_own(folder: Path, emotions: list[str]) -> Path:
    """Write 20 clips of two speakers with one listener's labels; return the manifest."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(20):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(4800), 16_000)
        rows.append((f"{number}.wav", ("anna", "ben")[number % 2], "me", emotions[number % len(emotions)]))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "speaker", "listener", "emotions"), *rows])
    return folder / "manifest.csv"


def emotions_of(corpus: Path) -> list[str]:
    return json.loads((corpus / "corpus.json").read_text())["emotions"]


def draw(manifest: Path, *prepare: str) -> None:
    main(["prepare", "manifest", "--root", str(manifest), "--out", "own-corpus", *prepare])
    main(["episodes", "--corpus", "own-corpus", "--out", "own.json"])


def measure(models: str = "models", methods: str = METHODS) -> None:
    where = ("--corpus", "own-corpus", "--episodes", "own.json", "--models", models, "--out", "own-results")
    main(["bench", *where, "--cache", "cache", "--methods", methods])


def refusal(action: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line with which an action is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        action()
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_models_of_both_routes_are_measured_on_twenty_clips_of_ones_own(run: Path):
    emotions = emotions_of(run / "corpus")
    draw(write_own(run / "own", emotions), "--emotions", ";".join(emotions))
    measure()
    results = json.loads((run / "own-results" / "results.json").read_text())
    assert [row["method"] for row in results["rows"]] == METHODS.strip("[]").split(", ")
    assert {(row["scenario"], row["persons"]) for row in results["rows"]} == {("test-listeners", 1)}
    for page in ("report.md", "report.html"):
        text = (run / "own-results" / page).read_text()
        assert "Trained on another corpus" in text
        assert "meta-perser, speech-lm, ssl-e; for them this corpus is a test set" in text
    kept = {
        file: file.stat().st_mtime_ns for file in (run / "own-results" / "predictions").rglob("*.parquet")
    }
    measure()
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
    assert "is a test set" in (run / "own-results" / "report.md").read_text()


def test_the_usual_methods_fit_a_small_support(run: Path):
    emotions = emotions_of(run / "corpus")
    draw(write_own(run / "own", emotions), "--emotions", ";".join(emotions))
    where = ["--corpus", "own-corpus", "--episodes", "own.json", "--models", "models", "--out", "own-results"]
    main(["bench", *where, "--cache", "cache", "--limit", "1"])
    results = json.loads((run / "own-results" / "results.json").read_text())
    names = [row["method"] for row in results["rows"] if row["route"] == "speech-lm"]
    assert names == ["speech-lm-0", "speech-lm-0+prior-shift", "speech-lm-4"]


def one_recording(run: Path, own: Path) -> None:
    """Put a training recording of the run in place of a clip."""
    drawn = json.loads((run / "episodes.json").read_text())
    recordings = Corpus.load(run / "corpus").recordings
    shutil.copyfile(recordings.path(drawn["split"]["utterances"]["train"][0]), own / "3.wav")


def one_listener(run: Path, own: Path) -> None:
    drawn = json.loads((run / "episodes.json").read_text())
    manifest = own / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",me,", f",{drawn['split']['persons']['train'][0]},"))


@pytest.mark.parametrize(
    ("change", "met"),
    [(one_recording, "has met the recording 3.wav"), (one_listener, "has met the listener")],
)
def test_a_corpus_that_shares_something_with_the_training_is_refused(
    change: Callable[[Path, Path], None], met: str, run: Path, capsys: pytest.CaptureFixture[str]
):
    emotions = emotions_of(run / "corpus")
    manifest = write_own(run / "own", emotions)
    main(["pretrain", "--corpus", "corpus", "--episodes", "episodes.json", "--out", "new/ssl-e", *PRETRAIN])
    change(run, manifest.parent)
    draw(manifest, "--emotions", ";".join(emotions))
    assert met in refusal(lambda: measure("new", "[entire-zero]"), capsys)
    assert met in refusal(lambda: measure("models", "[meta-perser]"), capsys)
    assert met in refusal(lambda: measure("models", "[speech-lm-4]"), capsys)


def test_a_newly_trained_model_is_measured_wherever_its_folder_is(run: Path, tmp_path_factory):
    emotions = emotions_of(run / "corpus")
    main(["pretrain", "--corpus", "corpus", "--episodes", "episodes.json", "--out", "new/ssl-e", *PRETRAIN])
    moved = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree("new", moved / "models")
    draw(write_own(run / "own", emotions), "--emotions", ";".join(emotions))
    measure(str(moved / "models"), "[entire-zero, entire-few]")
    main(["export", str(moved / "models" / "ssl-e"), "--out", str(moved / "exported" / "ssl-e")])
    measure(str(moved / "exported"), "[entire-zero]")


def test_a_model_whose_training_is_not_known_is_refused(run: Path, tmp_path_factory, capsys):
    emotions = emotions_of(run / "corpus")
    moved = tmp_path_factory.mktemp("elsewhere") / "models"
    shutil.copytree("models", moved)
    draw(write_own(run / "own", emotions), "--emotions", ";".join(emotions))
    line = refusal(lambda: measure(str(moved), "[meta-perser]"), capsys)
    assert "has no trained_on.json" in line
    assert "train it again" in line


def test_the_refusal_of_other_emotions_says_how_to_prepare_the_corpus(run: Path, capsys):
    emotions = emotions_of(run / "corpus")
    manifest = write_own(run / "own", emotions[:2])
    draw(manifest)
    line = refusal(lambda: measure(methods="[meta-perser]"), capsys)
    option = f"--emotions '{';'.join(emotions)}'"
    assert f"prepare the corpus with {option}" in line
    draw(manifest, "--emotions", ";".join(emotions))
    measure(methods="[meta-perser]")


def test_an_experiment_runs_again_where_recordings_changed(run: Path, capsys):
    write_own(run / "own", ["happy", "sad"])
    prepare = ["--prepare.corpus", "manifest", "--prepare.root", "own/manifest.csv", "--out", "experiment"]
    drawn = ["--draw.split.scenario", "test-listeners", "--draw.k", "4", "--draw.q", "8", "--draw.seeds", "1"]

    def stages() -> list[str]:
        main(["experiment", *prepare, *drawn, "--bench.methods", "[random]"])
        return [line for line in capsys.readouterr().err.splitlines() if line.endswith(": started")]

    everything = ["prepare: started", "episodes: started", "bench: started"]
    assert stages() == everything
    assert stages() == []
    shutil.copyfile("own/3.wav", "own/4.wav")
    assert stages() == everything
    assert stages() == []


def test_results_of_recordings_that_changed_are_not_used(run: Path, capsys):
    emotions = emotions_of(run / "corpus")
    manifest = write_own(run / "own", emotions)
    draw(manifest, "--emotions", ";".join(emotions))
    measure(methods="[entire-zero]")
    before = (run / "own-results" / "scores.json").read_text()
    for number in range(20):
        noise = np.random.default_rng(number + 1).standard_normal(4800)
        soundfile.write(run / "own" / f"{number}.wav", 0.3 * noise, 16_000)
    line = refusal(lambda: measure(methods="[entire-zero]"), capsys)
    assert "of its 20 recordings, 20 are not what was prepared" in line
    main(["prepare", "manifest", "--root", str(manifest), "--out", "own-corpus"])
    assert "drawn from another corpus" in refusal(lambda: measure(methods="[entire-zero]"), capsys)
    draw(manifest, "--emotions", ";".join(emotions))
    measure(methods="[entire-zero]")
    assert (run / "own-results" / "scores.json").read_text() != before
