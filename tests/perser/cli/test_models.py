from __future__ import annotations

import json

import pytest

from perser.cli.main import main
from perser.io.model_facts import place_of


@pytest.fixture
def runs(tmp_path):
    """A model of each route, one that stands on what is not here, and a folder that is none."""
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
def given(tmp_path, monkeypatch):
    """Has the Hub's local cache hold a model as transformers downloads a commit of it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name, commit):
        snapshot = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")

    return put


def test_models_are_listed_with_what_they_stand_on(runs, capsys):
    folder, encoder = runs
    main(["models", "--folder", str(folder), "--json"])
    found = {one["path"].rpartition("/")[2]: one for one in json.loads(capsys.readouterr().out)}
    assert sorted(found) == ["large", "speech-lm", "ssl-e"]
    assert (found["ssl-e"]["route"], found["ssl-e"]["emotions"]) == ("meta-perser", ["angry", "sad"])
    assert (found["ssl-e"]["needs"], found["ssl-e"]["works_offline"]) == ({}, True)
    assert found["speech-lm"]["needs"] == {str(encoder): "here", "tiny-llama": "built in"}
    assert found["speech-lm"]["works_offline"]
    assert found["large"]["needs"] == {"openai/nowhere": "to be downloaded", "/gone/llama": "missing"}
    assert not found["large"]["works_offline"]


def test_every_model_is_told_of(runs, capsys):
    main(["models", "--folder", str(runs[0])])
    shown = capsys.readouterr().out
    assert all(f"mine/{one} (" in shown for one in ("ssl-e", "speech-lm", "large"))
    assert "stands on: openai/nowhere (to be downloaded), /gone/llama (missing)" in shown
    assert shown.count("works without a network: yes") == 2


def test_nothing_and_nowhere_are_said(tmp_path, capsys):
    main(["models", "--folder", str(tmp_path)])
    assert "no trained model" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["models", "--folder", str(tmp_path / "nowhere")])
    assert "nowhere is not there" in capsys.readouterr().err


def test_what_the_hub_has_given_is_known(given):
    given("somebody/encoder", "0123abcd")
    assert place_of("somebody/encoder") == "to be downloaded", "no commit is called main"
    assert place_of("somebody/encoder", "0123abcd") == "downloaded"
    assert place_of("somebody/encoder", "4567cdef") == "to be downloaded"


def test_a_model_is_looked_for_at_the_commit_that_it_names(runs, given, capsys):
    given("openai/nowhere", "0123abcd")
    config = runs[0] / "mine" / "large" / "config.json"
    known = {"encoder": "openai/nowhere", "encoder_revision": "0123abcd", "language_model": "tiny-llama"}
    config.write_text(json.dumps(known | {"emotions": ["a", "b"], "language_model_revision": 7}))
    main(["models", "--folder", str(config.parent), "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["needs"] == {"openai/nowhere": "downloaded", "tiny-llama": "built in"}
    assert found["works_offline"]


def test_a_name_of_the_hubs_may_begin_as_those_of_what_is_built_in():
    assert place_of("tiny-llama") == "built in"
    assert place_of("tiny-random/nowhere") == "to be downloaded"
