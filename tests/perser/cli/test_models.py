"""`perser models`: the trained models in a folder, and what each needs."""

from __future__ import annotations

import json

import pytest

from perser.cli.main import main
from perser.io.model_facts import place_of


@pytest.fixture
def runs(tmp_path):
    """A model of each route, one that needs models that are not here, and a damaged one."""
    encoder = tmp_path / "runs" / "mine" / "ssl-e" / "encoder"
    texts = {
        "mine/ssl-e/meta_perser.json": {"emotions": ["angry", "sad"]},
        "mine/ssl-e/recogniser.safetensors": {},
        "mine/ssl-e/encoder/config.json": {"model_type": "whisper"},
        "mine/ssl-e/encoder/model.safetensors": {},
        "mine/speech-lm/config.json": {"encoder": "../ssl-e/encoder", "language_model": "tiny-llama"},
        "mine/speech-lm/projector.safetensors": {},
        "mine/large/config.json": {
            "encoder": "openai/nowhere",
            "language_model": "/gone/llama",
            "emotions": ["a"],
        },
        "mine/large/projector.safetensors": {},
        "mine/damaged/meta_perser.json": [],
        "mine/damaged/recogniser.safetensors": {},
    }
    for name, content in texts.items():
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path / "runs", encoder


@pytest.fixture
def download(tmp_path, monkeypatch):
    """Put a model into the Hub's local cache, as transformers does when it downloads a commit."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name, commit):
        snapshot = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")

    return put


def test_models_are_listed_with_what_they_need(runs, capsys):
    folder, encoder = runs
    main(["models", "--folder", str(folder), "--json"])
    rows = json.loads(capsys.readouterr().out)
    listed = {row["path"].rpartition("/")[2]: row for row in rows}
    assert sorted(listed) == ["large", "speech-lm", "ssl-e"]
    assert (listed["ssl-e"]["route"], listed["ssl-e"]["emotions"]) == ("meta-perser", ["angry", "sad"])
    assert (listed["ssl-e"]["needs"], listed["ssl-e"]["works_offline"]) == ({}, True)
    assert listed["speech-lm"]["needs"] == {str(encoder): "here", "tiny-llama": "built in"}
    assert listed["speech-lm"]["works_offline"]
    assert listed["large"]["needs"] == {"openai/nowhere": "to be downloaded", "/gone/llama": "missing"}
    assert not listed["large"]["works_offline"]


def test_the_folder_needs_no_name(runs, capsys):
    main(["models", "--folder", str(runs[0]), "--json"])
    named = capsys.readouterr().out
    main(["models", str(runs[0]), "--json"])
    assert capsys.readouterr().out == named
    with pytest.raises(SystemExit):
        main(["models", str(runs[0] / "mnie")])
    assert f"(did you mean {runs[0] / 'mine'}?)" in capsys.readouterr().err


def test_every_model_is_printed(runs, capsys):
    main(["models", "--folder", str(runs[0])])
    shown = capsys.readouterr().out
    assert all(f"mine/{name} (" in shown for name in ("ssl-e", "speech-lm", "large"))
    assert "needs: openai/nowhere (to be downloaded), /gone/llama (missing)" in shown
    assert shown.count("works without a network: yes") == 2


def test_an_empty_and_a_missing_folder_are_reported(tmp_path, capsys):
    main(["models", "--folder", str(tmp_path)])
    assert "no trained model" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["models", "--folder", str(tmp_path / "nowhere")])
    assert "nowhere is not there" in capsys.readouterr().err


def test_a_downloaded_commit_is_known(download):
    download("somebody/encoder", "0123abcd")
    assert place_of("somebody/encoder") == "to be downloaded", "no commit is called main"
    assert place_of("somebody/encoder", "0123abcd") == "downloaded"
    assert place_of("somebody/encoder", "4567cdef") == "to be downloaded"


def test_a_needed_model_is_looked_for_at_the_commit_that_the_config_names(runs, download, capsys):
    download("openai/nowhere", "0123abcd")
    config = runs[0] / "mine" / "large" / "config.json"
    known = {"encoder": "openai/nowhere", "encoder_revision": "0123abcd", "language_model": "tiny-llama"}
    config.write_text(json.dumps(known | {"emotions": ["a", "b"], "language_model_revision": 7}))
    main(["models", "--folder", str(config.parent), "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert row["needs"] == {"openai/nowhere": "downloaded", "tiny-llama": "built in"}
    assert row["works_offline"]


def test_a_hub_name_may_begin_like_a_built_in_one():
    assert place_of("tiny-llama") == "built in"
    assert place_of("tiny-random/nowhere") == "to be downloaded"
