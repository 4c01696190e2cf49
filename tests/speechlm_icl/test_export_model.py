"""An exported speech language model gives the same answers anywhere."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMultimodalLM, AutoProcessor

import speechlm_icl.auto  # noqa: F401
from perser.cli.main import main
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from speechlm_icl.export_model import export_speech_lm

SHAPE = (4, 64)  # of a tiny encoder's features


@pytest.fixture
def examples(emotions):
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(6000), (word,)) for word in (*emotions.names, emotions.names[0])]


@pytest.fixture
def clips():
    return [0.1 * np.random.default_rng(seed).standard_normal(5000) for seed in (1, 2)]


@pytest.fixture
def run(build, tmp_path, llama_folder) -> Path:
    """A run whose speech LM uses an encoder and a language model from the same run."""
    folder = tmp_path / "run" / "models"
    SpeechEncoder.from_name("tiny-whisper", seed=3).save_pretrained(folder / "ssl-e" / "encoder")
    shutil.copytree(llama_folder, folder / "base")
    model = build(str(folder / "base"), encoder=str(folder / "ssl-e" / "encoder"), feature_shape=SHAPE)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    model.save_pretrained(folder / "speech-lm")
    return folder


def rows(predictions):
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def export(model, out):
    main(["export", "--model", str(model), "--out", str(out)])


def test_an_export_answers_the_same_without_the_run(run, examples, clips, tmp_path):
    personal = Recognizer.from_pretrained(run / "speech-lm").enroll(examples)
    expected = personal.predict(clips)
    personal.save(tmp_path / "alice.profile")
    export(run / "speech-lm", tmp_path / "out" / "mine")
    shutil.rmtree(run.parent)
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere") / "mine"
    answers = Recognizer.from_pretrained(moved).enroll(examples).predict(clips)
    np.testing.assert_allclose(rows(answers), rows(expected), atol=1e-6)
    unadapted = [rows([prediction.unadapted for prediction in found]) for found in (answers, expected)]
    np.testing.assert_allclose(*unadapted, atol=1e-6)
    assert np.abs(rows(expected) - unadapted[0]).max() > 1e-3
    again = PersonalRecognizer.load(tmp_path / "alice.profile", moved).predict(clips)
    np.testing.assert_allclose(rows(again), rows(expected), atol=1e-6)


def test_an_export_names_no_local_folder_and_holds_no_pickles(run, tmp_path):
    export(run / "speech-lm", tmp_path / "mine")
    files = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt", ".jinja"}
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".json", ".md")]
    assert not any(str(tmp_path) in text for text in texts)
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert (config["encoder"], config["language_model"]) == ("./encoder", "./base")


def test_an_export_is_loaded_from_the_hub_by_name(run, examples, clips, tmp_path, downloaded):
    expected = Recognizer.from_pretrained(run / "speech-lm").enroll(examples).predict(clips)
    export(run / "speech-lm", tmp_path / "mine")
    downloaded("somebody/speech-lm", tmp_path / "mine")
    shutil.rmtree(run.parent)
    shutil.rmtree(tmp_path / "mine")
    personal = Recognizer.from_pretrained("somebody/speech-lm").enroll(examples)
    np.testing.assert_allclose(rows(personal.predict(clips)), rows(expected), atol=1e-6)
    personal.save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile")
    np.testing.assert_allclose(rows(again.predict(clips)), rows(expected), atol=1e-6)


def test_an_export_can_be_exported_again_to_its_own_folder(run, examples, clips, tmp_path):
    export(run / "speech-lm", tmp_path / "mine")
    expected = Recognizer.from_pretrained(tmp_path / "mine").enroll(examples).predict(clips)
    export(tmp_path / "mine", tmp_path / "mine")
    answers = Recognizer.from_pretrained(tmp_path / "mine").enroll(examples).predict(clips)
    np.testing.assert_allclose(rows(answers), rows(expected), atol=1e-6)


def test_a_base_of_pickled_weights_is_refused(build, tmp_path, llama_folder):
    base = shutil.copytree(llama_folder, tmp_path / "base")
    build(str(base), feature_shape=SHAPE).save_pretrained(tmp_path / "speech-lm")
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(UserError, match="pickles alone"):
        build(str(base), feature_shape=SHAPE)
    with pytest.raises(SystemExit):
        export(tmp_path / "speech-lm", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.skipif(not find_spec("gguf"), reason="needs the extra gguf")
def test_a_gguf_file_becomes_safetensors(build, examples, clips, gguf_file, tmp_path):
    file = shutil.copy(gguf_file, tmp_path / "base.gguf")
    short = build(str(file), feature_shape=SHAPE, prompt={"instruction": "?"})  # for a context of 128 bytes
    short.save_pretrained(tmp_path / "speech-lm")
    expected = Recognizer.from_pretrained(tmp_path / "speech-lm").enroll(examples).predict(clips)
    export(tmp_path / "speech-lm", tmp_path / "mine")
    file.unlink()
    answers = Recognizer.from_pretrained(tmp_path / "mine").enroll(examples).predict(clips)
    np.testing.assert_allclose(rows(answers), rows(expected), atol=1e-6)


def test_models_on_the_hub_stay_names_with_their_commits(build, tmp_path):
    model = build(feature_shape=SHAPE)
    model.config.encoder, model.config.encoder_revision = "somebody/encoder", "0123abcd"
    model.save_pretrained(tmp_path / "speech-lm")
    (tmp_path / "speech-lm" / "processor_config.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    exported = export_speech_lm(tmp_path / "speech-lm", tmp_path / "mine")
    assert exported.bases == {"somebody/encoder": "0123abcd"}
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert (config["encoder"], config["encoder_revision"]) == ("somebody/encoder", "0123abcd")
    with pytest.raises(UserError, match="encoder 'somebody/encoder'"):
        Recognizer.from_pretrained(tmp_path / "mine")


def test_a_newer_commit_in_the_cache_does_not_prevent_an_export(build, tmp_path, monkeypatch):
    model = build(feature_shape=SHAPE)
    model.config.encoder, model.config.encoder_revision = "tiny-owner/encoder", "0123abcd"
    model.save_pretrained(tmp_path / "speech-lm")
    (tmp_path / "speech-lm" / "processor_config.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("speechlm_icl.model.revisions.revision_of", lambda name: "4567cdef")
    exported = export_speech_lm(tmp_path / "speech-lm", tmp_path / "mine")
    assert exported.bases == {"tiny-owner/encoder": "0123abcd"}


def test_an_encoder_that_was_replaced_is_not_exported(run, tmp_path):
    SpeechEncoder.from_name("tiny-whisper", seed=4).save_pretrained(run / "ssl-e" / "encoder")
    with pytest.raises(SystemExit):
        export(run / "speech-lm", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(("part", "what"), [("ssl-e", "speech encoder"), ("base", "language model")])
def test_a_missing_encoder_or_language_model_is_named(part, what, run, tmp_path, capsys):
    shutil.rmtree(run / part)
    with pytest.raises(SystemExit):
        export(run / "speech-lm", tmp_path / "mine")
    assert f"the {what} '{run / part}" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_the_auto_classes_load_an_export_and_the_code_of_its_card_runs(
    build, write_example_clips, run_card, tmp_path, monkeypatch
):
    build(feature_shape=SHAPE).save_pretrained(tmp_path / "speech-lm")
    export(tmp_path / "speech-lm", tmp_path / "mine")
    inputs = AutoProcessor.from_pretrained(tmp_path / "mine")(
        text="<|audio|> happy", audio=torch.randn(9_000), return_tensors="pt"
    )
    with torch.no_grad():
        logits = [
            AutoModelForMultimodalLM.from_pretrained(tmp_path / folder)(**inputs).logits
            for folder in ("speech-lm", "mine")
        ]
    torch.testing.assert_close(*logits)
    monkeypatch.chdir(tmp_path / "mine")
    write_example_clips()
    personalize, transformers = run_card(Path("README.md"))
    assert set(personalize["prediction"].probabilities) == {"angry", "happy", "sad"}
    assert transformers["answer"].shape[0] == 1
