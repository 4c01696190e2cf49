"""`perser export` as a user types it, with a route that has one file."""

from __future__ import annotations

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from perser.cli.main import main
from perser.export.folder import MARKER, copy_safe_files, export_files
from perser.io.model_facts import ModelFacts
from perser.route import Exported


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model's folder, of a route that the command finds."""
    folder = tmp_path / "run" / "models" / "fake"
    folder.mkdir(parents=True)
    (folder / "fake.safetensors").write_bytes(b"weights")

    def fake_files(source, out):
        shutil.copy(source / "fake.safetensors", out)
        return ModelFacts("fake", ("angry", "sad"), {}), Exported("A fake.", "pass", {"fake": ("fake",)})

    monkeypatch.setattr("perser.export.folder.export_files", fake_files)
    return folder


def test_what_is_written_is_named_and_replaced(model, tmp_path, capsys):
    line = ["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--name", "somebody/mine"]
    main([*line, "--license", "cc-by-4.0", "--language", "en, da"])
    assert "`hf upload somebody/mine" in capsys.readouterr().out
    written = {one.name for one in (tmp_path / "mine").iterdir()}
    assert written == {"fake.safetensors", "README.md", MARKER}
    assert json.loads((tmp_path / "mine" / MARKER).read_text())["route"] == "fake"
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["en", "da"])
    assert '"somebody/mine"' in card.text
    main(line)
    assert ModelCard.load(tmp_path / "mine" / "README.md").data.license is None


@pytest.mark.parametrize("theirs", ["README.md", ".git/config"])
def test_a_foreign_folder_is_left_alone(theirs, model, tmp_path, capsys):
    line = ["export", "--model", str(model), "--out", str(tmp_path / "mine")]
    if theirs.startswith(".git"):  # the Hub's clone of an earlier export
        main(line)
    (tmp_path / "mine" / theirs).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine" / theirs).write_text("theirs")
    with pytest.raises(SystemExit):
        main(line)
    assert (tmp_path / "mine" / theirs).read_text() == "theirs"
    said = capsys.readouterr().err
    assert "give another output folder" in said or "is a Git repository" in said


@pytest.mark.parametrize(
    ("option", "said"), [("--run=nowhere", "run: nowhere is not there"), ("--model=gone", "no model 'gone'")]
)
def test_what_is_not_there_is_a_line(option, said, model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--model", str(model), "--out", str(tmp_path / "mine"), option])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_folder_of_no_route_is_refused(tmp_path):
    with pytest.raises(Exception, match="holds no model of an installed route"):
        export_files(tmp_path, tmp_path / "mine")


def test_only_files_that_run_no_code_are_copied(tmp_path):
    source = tmp_path / "source"
    (source / "last").mkdir(parents=True)
    names = ("a.safetensors", "b.json", "c.bin", "d.py", "e.pt", "f.pkl", "README.md", "last/g.json")
    for name in (*names, "run.json", "log.txt", "bad_steps.json", "metrics.jsonl"):  # of the training
        (source / name).write_text(name)
    copy_safe_files(source, tmp_path / "out")
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"a.safetensors", "b.json"}
