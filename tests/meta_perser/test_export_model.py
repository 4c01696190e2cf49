"""`perser export` of a recognizer, and the recognizer as a transformers model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    pipeline,
)

import meta_perser.auto  # noqa: F401
from meta_perser.modeling_hf import MetaPerSERForAudioClassification
from perser.cli.main import main
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer


def rows(predictions):
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def export(model, out):
    main(["export", "--model", str(model), "--out", str(out)])


@pytest.fixture
def clips(trained, toy_episodes):
    episode, path = toy_episodes.episodes[0], trained.recordings.path
    pairs = zip(episode.support.utterances, episode.support.emotions, strict=True)
    queries = [path(name) for name in episode.query_utterances]
    return [(path(name), emotions) for name, emotions in pairs], queries


@pytest.fixture
def samples(trained):
    """Waveforms of different lengths."""
    return [trained.recordings.waveform(name).numpy() for name in trained.recordings.utterance_ids[:3]]


@pytest.mark.parametrize("name", ["meta-perser", "ssl-e", "linear"])
def test_an_export_answers_the_same_without_the_run(name, trained, clips, tmp_path):
    examples, queries = clips
    source = tmp_path / "run" / "models" / name
    shutil.copytree(trained.models / name, source)
    personal = Recognizer.from_pretrained(source).enroll(examples)
    expected = personal.predict(queries)
    personal.save(tmp_path / "alice.profile")
    export(source, tmp_path / "out" / name)
    shutil.rmtree(tmp_path / "run")
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere") / name
    answers = Recognizer.from_pretrained(moved).enroll(examples).predict(queries)
    np.testing.assert_allclose(rows(answers), rows(expected), atol=1e-6)
    again = PersonalRecognizer.load(tmp_path / "alice.profile", moved).predict(queries)
    np.testing.assert_allclose(rows(again), rows(expected), atol=1e-6)


def test_an_export_is_loaded_from_the_hub_by_name(trained, clips, tmp_path, downloaded):
    examples, queries = clips
    export(trained.models / "meta-perser", tmp_path / "mine")
    downloaded("somebody/meta-perser", tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine")
    answers, expected = (
        Recognizer.from_pretrained(model).enroll(examples).predict(queries)
        for model in ("somebody/meta-perser", trained.models / "meta-perser")
    )
    np.testing.assert_allclose(rows(answers), rows(expected), atol=1e-6)
    model = AutoModelForAudioClassification.from_pretrained("somebody/meta-perser")
    assert isinstance(model, MetaPerSERForAudioClassification)


def test_a_model_without_a_head_of_its_own_is_not_exported(trained, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export(trained.models / "multi", tmp_path / "mine")
    assert "no head of its own" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_the_encoders_folder_on_this_machine_is_not_exported(trained, tmp_path):
    source = shutil.copytree(trained.models / "ssl-e", tmp_path / "ssl-e")
    config = json.loads((source / "meta_perser.json").read_text())
    config["extra"]["encoder"]["name"] = str(source / "encoder")
    (source / "meta_perser.json").write_text(json.dumps(config))
    (source / "checksums.json").unlink()
    export(source, tmp_path / "mine")
    written = json.loads((tmp_path / "mine" / "meta_perser.json").read_text())
    assert written["extra"]["encoder"]["name"] == "encoder"


def test_the_auto_classes_give_the_unadapted_answers(trained, samples, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(samples, sampling_rate=16_000, padding=True, return_tensors="pt")
    expected = rows(Recognizer.from_pretrained(tmp_path).predict(samples))
    for auto in (AutoModel, AutoModelForAudioClassification):
        model = auto.from_pretrained(tmp_path)
        with torch.no_grad():
            np.testing.assert_allclose(model(**inputs).logits.softmax(dim=-1), expected, atol=1e-5)
    names = AutoConfig.from_pretrained(tmp_path).id2label
    assert tuple(names.values()) == tuple(trained.emotions.names)


def test_its_feature_extractor_takes_recordings_in_any_form(trained, samples, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    whole = np.round(samples[0] * 32767).astype(np.int16)
    path = trained.recordings.path(trained.recordings.utterance_ids[0])
    forms = [whole, torch.from_numpy(whole), (whole, 16_000), path, path.read_bytes()]
    forms.append({"array": np.stack([whole, 0 * whole]), "sampling_rate": 16_000})
    for form in forms:
        for given in (form, [form]):
            inputs = extractor(given, return_tensors="pt")
            np.testing.assert_allclose(inputs.input_values, samples[0][None], atol=1e-4)
    for wrong, reason in ((whole[:320], "too short"), (0 * whole, "silent"), (whole * 1.0, "no sound")):
        with pytest.raises(UserError, match=f"^cannot use clip 2: {reason}"):
            extractor([samples[0], wrong])
    with pytest.raises(ValueError, match="sampling rate"):
        extractor(samples[0], sampling_rate=8_000)
    classify = pipeline("audio-classification", model=str(tmp_path))
    expected = {answer["label"]: answer["score"] for answer in classify(samples[0])}
    assert {answer["label"]: answer["score"] for answer in classify(whole)} == pytest.approx(
        expected, abs=1e-2
    )


def test_the_pipeline_of_transformers_gives_its_answers(trained, samples, tmp_path):
    export(trained.models / "meta-perser", tmp_path)
    classify = pipeline("audio-classification", model=str(tmp_path))
    found = [{answer["label"]: answer["score"] for answer in answers} for answers in classify(samples)]
    expected = [answer.probabilities for answer in Recognizer.from_pretrained(tmp_path).predict(samples)]
    for own, theirs in zip(found, expected, strict=True):
        assert own == pytest.approx(theirs, abs=1e-6)
    (best,) = classify({"raw": samples[0], "sampling_rate": 16_000}, top_k=1)
    assert best["label"] == max(expected[0], key=expected[0].get)


def test_the_model_checks_waveforms_that_no_extractor_of_it_has_read(trained, samples, tmp_path):
    """An export of version 0.1.0 names transformers' own extractor, which does not scale whole numbers."""
    export(trained.models / "ssl-e", tmp_path)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    values = torch.from_numpy(samples[0])[None]
    whole = (values * 32767).round().to(torch.int16)
    with torch.no_grad():
        torch.testing.assert_close(model(whole).logits, model(values).logits, atol=1e-2, rtol=0)
    for wrong, reason in ((whole.float(), "no sound"), (0 * values, "silent"), (values / 0, "not finite")):
        with pytest.raises(UserError, match=f"^cannot use clip 1: {reason}"):
            model(wrong)


def test_it_can_be_trained_on_and_saved(trained, samples, tmp_path):
    export(trained.models / "meta-perser", tmp_path / "mine")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "mine")
    inputs = torch.from_numpy(samples[0])[None]
    classes, shares = torch.tensor([2]), torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    loss = model(inputs, labels=classes).loss
    torch.testing.assert_close(loss, model(inputs, labels=shares).loss)
    loss.backward()
    with torch.no_grad():
        model.recognizer.classifier.bias -= model.recognizer.classifier.bias.grad
    assert model(inputs, labels=classes).loss < loss
    model.save_pretrained(tmp_path / "trained")
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "trained")
    torch.testing.assert_close(again(inputs).logits, model(inputs).logits)
    personal = Recognizer.from_pretrained(tmp_path / "trained").enroll([(samples[0], "sad")])
    assert personal.predict(samples[1:])


def test_a_model_pushed_to_the_hub_is_loaded_from_there(trained, samples, tmp_path, hub_folder):
    export(trained.models / "meta-perser", tmp_path / "mine")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "mine")
    model.push_to_hub("somebody/mine")
    again = AutoModelForAudioClassification.from_pretrained(hub_folder / "somebody" / "mine")
    inputs = torch.from_numpy(samples[0])[None]
    torch.testing.assert_close(again(inputs).logits, model(inputs).logits)
    assert Recognizer.from_pretrained("somebody/mine").enroll([(samples[0], "sad")]).predict(samples[1:])


def test_saving_follows_the_options_of_transformers(trained, samples, tmp_path, hub_folder):
    export(trained.models / "meta-perser", tmp_path / "mine")
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "mine")
    model.save_pretrained(tmp_path / "elsewhere", is_main_process=False)
    assert not (tmp_path / "elsewhere").exists()
    zeros = {name: 0 * value for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"^state_dict: it holds other weights"):
        model.save_pretrained(tmp_path / "elsewhere", state_dict=zeros)
    assert not (tmp_path / "elsewhere").exists()
    model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id="somebody/saved")
    inputs = torch.from_numpy(samples[0])[None]
    for folder in (tmp_path / "saved", hub_folder / "somebody" / "saved"):
        again = AutoModelForAudioClassification.from_pretrained(folder)
        torch.testing.assert_close(again(inputs).logits, model(inputs).logits)


def test_labels_that_are_too_few_or_too_many_are_refused(trained, tmp_path):
    """A pipeline would name the emotions by them."""
    export(trained.models / "ssl-e", tmp_path)
    for options in ({"num_labels": 3}, {"id2label": {0: "angry"}}):
        with pytest.raises(UserError, match=r"^id2label: it has . labels?, but the model answers with 4"):
            AutoModelForAudioClassification.from_pretrained(tmp_path, **options)
    names = dict(enumerate("wxyz"))
    assert AutoModelForAudioClassification.from_pretrained(tmp_path, id2label=names).config.id2label == names


def test_a_config_alone_makes_no_model(trained, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    with pytest.raises(UserError, match=r"^a config alone makes no Meta-PerSER model: load a trained one"):
        AutoModelForAudioClassification.from_config(AutoConfig.from_pretrained(tmp_path))


def test_a_compiled_model_gives_the_same_logits(trained, samples, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    inputs = torch.from_numpy(samples[0])[None]
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager")
        torch.testing.assert_close(compiled(inputs).logits, model(inputs).logits)


def test_an_option_without_effect_is_refused(trained, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    with pytest.raises(TypeError, match="takes no max_memory"):
        AutoModelForAudioClassification.from_pretrained(tmp_path, max_memory={0: "1GB"})
    halved = AutoModelForAudioClassification.from_pretrained(tmp_path, dtype="bfloat16")
    assert {weight.dtype for weight in halved.recognizer.projector.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["ssl-e", "meta-perser"])
@pytest.mark.parametrize("options", [{}, {"torch_dtype": torch.bfloat16, "device_map": "auto"}])
def test_it_takes_inputs_and_weights_in_another_number_format(
    trained, samples, tmp_path, monkeypatch, name, options
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    export(trained.models / name, tmp_path)
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(
        samples, sampling_rate=16_000, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = AutoModelForAudioClassification.from_pretrained(tmp_path)(**inputs).logits
        model = AutoModelForAudioClassification.from_pretrained(tmp_path, low_cpu_mem_usage=True, **options)
        for dtype in (torch.bfloat16, torch.float16):
            logits = model(**inputs.to(dtype)).logits
            assert logits.dtype == model.dtype == options.get("torch_dtype", torch.float32)
            torch.testing.assert_close(logits.float(), expected, atol=0.2, rtol=0.1)


def test_attention_may_be_asked_for_if_it_is_supported(trained, samples, tmp_path):
    export(trained.models / "ssl-e", tmp_path)
    inputs = torch.from_numpy(samples[0])[None]
    expected = AutoModelForAudioClassification.from_pretrained(tmp_path)(inputs).logits
    for attention in ("eager", "sdpa"):
        model = AutoModelForAudioClassification.from_pretrained(tmp_path, attn_implementation=attention)
        torch.testing.assert_close(model(inputs).logits, expected)
    for load in (AutoModelForAudioClassification, MetaPerSERForAudioClassification):
        with pytest.raises(
            UserError, match="'flash_attention_2' is not supported by Meta-PerSER: give eager"
        ):
            load.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


def test_the_code_of_its_card_runs(trained, write_example_clips, run_card, tmp_path, monkeypatch, capsys):
    export(trained.models / "meta-perser", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    write_example_clips()
    personalize, transformers = run_card(Path("README.md"))
    assert set(personalize["prediction"].probabilities) == set(trained.emotions.names)
    assert transformers["logits"].shape == (1, 4)
