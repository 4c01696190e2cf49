"""`perser export` from the command line, with a toy route that has one file."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
from huggingface_hub import HfApi, ModelCard

from perser.cli.main import main
from perser.export.folder import MARKER, copy_safe_files, export_files
from perser.io.model_facts import ModelFacts
from perser.route import Exported


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The folder of a model of the toy route."""
    folder = tmp_path / "run" / "models" / "fake"
    folder.mkdir(parents=True)
    (folder / "fake.safetensors").write_bytes(b"weights")

    def fake_files(source, out):
        shutil.copy(source / "fake.safetensors", out)
        return ModelFacts("fake", ("angry", "sad"), {}), Exported("A fake.", "pass", {"fake": ("fake",)})

    monkeypatch.setattr("perser.export.folder.export_files", fake_files)
    return folder


def test_the_folder_is_named_and_replaced_by_a_later_export(model, tmp_path, capsys):
    command = ["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--name", "somebody/mine"]
    main([*command, "--license", "cc-by-4.0", "--language", "en, da"])
    assert "`hf upload somebody/mine" in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "mine").iterdir()}
    assert written == {"fake.safetensors", "README.md", MARKER}
    assert json.loads((tmp_path / "mine" / MARKER).read_text())["route"] == "fake"
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.language) == ("cc-by-4.0", ["en", "da"])
    assert '"somebody/mine"' in card.text
    main(command)
    assert ModelCard.load(tmp_path / "mine" / "README.md").data.license is None


@pytest.fixture
def uploads(hub_folder, monkeypatch):
    """The folder in place of the Hub, which also takes whole folders."""

    def upload_folder(self, *, repo_id, folder_path, **options):
        shutil.copytree(folder_path, hub_folder / repo_id)

    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return hub_folder


def test_the_folder_is_uploaded_if_that_is_asked_for(model, tmp_path, uploads, capsys):
    words = ["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--name", "somebody/mine"]
    main([*words, "--push_to_hub"])
    written = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    uploaded = {path.name: path.read_bytes() for path in (uploads / "somebody/mine").iterdir()}
    assert uploaded == written
    assert "uploaded to https://huggingface.co/somebody/mine" in capsys.readouterr().out


def test_a_new_repository_is_private(model, tmp_path, uploads, monkeypatch):
    options = []
    create = HfApi.create_repo
    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, name, **words: options.append(words) or create(self, name, **words)
    )
    words = ["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--name", "somebody/mine"]
    main([*words, "--push_to_hub"])
    assert options == [{"private": True, "exist_ok": True}]


def test_an_upload_that_fails_is_one_line_and_the_folder_is_kept(model, tmp_path, monkeypatch, capsys):
    def refuse(self, name, **options):
        raise OSError("401 Client Error\nmore")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    words = ["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--push_to_hub"]
    with pytest.raises(SystemExit):
        main(words)
    assert "push_to_hub: give --name OWNER/NAME" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists(), "nothing is written before the name is known"
    with pytest.raises(SystemExit):
        main([*words, "--name", "somebody/mine"])
    error = capsys.readouterr().err
    assert "(401 Client Error)" in error
    assert error.count("\n") == 1
    assert (tmp_path / "mine" / "README.md").is_file()


BAD_NAMES = ("bad name", "mine", "some body/mine", "some/mi--ne", "a/b/c", f"somebody/{'m' * 100}", "/a", "")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_the_hub_does_not_allow_is_refused_and_nothing_written(name, model, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["export", "--model", str(model), "--out", str(tmp_path / "mine"), "--name", name])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"perser: error: name: '{name}' is no name on the Hugging Face Hub")
    assert error.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_suggested_commands_can_be_pasted(model, tmp_path, capsys):
    main(["export", "--model", str(model), "--out", str(tmp_path / "my model's")])
    (command,) = re.findall("`(hf .*)`", capsys.readouterr().out)
    assert shlex.split(command) == ["hf", "upload", "OWNER/NAME", str(tmp_path / "my model's")]


@pytest.mark.parametrize("foreign", ["README.md", ".git/config"])
def test_a_folder_of_other_files_is_not_replaced(foreign, model, tmp_path, capsys):
    command = ["export", "--model", str(model), "--out", str(tmp_path / "mine")]
    if foreign.startswith(".git"):  # a clone from the Hub of an earlier export
        main(command)
    (tmp_path / "mine" / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "mine" / foreign).write_text("foreign")
    with pytest.raises(SystemExit):
        main(command)
    assert (tmp_path / "mine" / foreign).read_text() == "foreign"
    error = capsys.readouterr().err
    assert "give another output folder" in error or "is a Git repository" in error


@pytest.mark.parametrize(
    ("option", "message"),
    [("--run=nowhere", "run: nowhere is not there"), ("--model=gone", "no model 'gone'")],
)
def test_a_missing_run_or_model_is_named(option, message, model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--model", str(model), "--out", str(tmp_path / "mine"), option])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(Exception, match="holds no model of an installed route"):
        export_files(tmp_path, tmp_path / "mine")


def test_only_files_without_code_are_copied(tmp_path):
    source = tmp_path / "source"
    (source / "last").mkdir(parents=True)
    names = ("a.safetensors", "b.json", "c.bin", "d.py", "e.pt", "f.pkl", "README.md", "last/g.json")
    for name in (*names, "run.json", "log.txt", "bad_steps.json", "metrics.jsonl"):  # from the training
        (source / name).write_text(name)
    copy_safe_files(source, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.safetensors", "b.json"}
