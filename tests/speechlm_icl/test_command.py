"""`perser icl-train` on a corpus on disk, and the route `speech-lm` with the model that it wrote."""

import json

import numpy as np
import pytest

from perser.cli.parser import parse_command
from perser.errors import UserError
from perser.installed_routes import build_method, check_method
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl import train
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.personalizer import speech_lm
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.train import icl_train

LABELS = ("angry", "happy", "sad", "very")
QUICK = {"steps": 2, "pairs": 4, "batch_size": 2, "validation_sequences": 2}


@pytest.fixture(scope="module", params=["pooled", "stack"])
def run(request, tmp_path_factory, toy_corpus, toy_episodes_path):
    """The folder of a run with the trained model in it."""
    folder = tmp_path_factory.mktemp("run")
    icl_train(
        toy_corpus.folder,
        toy_episodes_path,
        folder / "models" / "speech-lm",
        folder / "cache",
        encoder="tiny-whisper",
        projector=ProjectorOptions(kind=request.param),
        **QUICK,
    )
    return folder


@pytest.fixture
def context(run, toy_corpus):
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, run / "models", run / "cache")


def test_the_route_personalizes_with_the_trained_model(context, toy_episodes):
    episode = toy_episodes.episodes[0]
    predictions = {
        pairs: speech_lm(context, pairs).personalize(episode.support).predict_proba(episode.query_utterances)
        for pairs in (None, 0, 8)
    }
    for probabilities in predictions.values():
        assert probabilities.shape == (16, 4)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions[None], predictions[8])


def test_the_training_is_recorded(run, toy_episodes):
    record = json.loads((run / "models" / "speech-lm" / "training.json").read_text())
    assert record["trained_on"] == toy_episodes.training_digest
    assert record["options"]["steps"] == 2
    assert record["history"][-1]["step"] == 2


def test_the_trained_folder_loads_as_a_model_and_a_processor(run, toy_corpus):
    folder = run / "models" / "speech-lm"
    model, processor = SpeechLMForICL.from_pretrained(folder), SpeechLMProcessor.from_pretrained(folder)
    clip = toy_corpus.recordings.waveform(toy_corpus.recordings.utterance_ids[0])
    inputs = processor(text="<|audio|> happy", audio=clip, return_tensors="pt")
    assert model(**inputs, labels=inputs.input_ids).loss > 0
    assert model.generate(**inputs, max_new_tokens=2).shape[1] <= inputs.input_ids.shape[1] + 2


def test_a_model_with_other_emotions_than_the_corpus_is_refused(context):
    other = RouteContext(EmotionSet(("yes", "no")), context.recordings, context.models, context.cache)
    with pytest.raises(UserError, match="the corpus has yes, no"):
        speech_lm(other)


def test_a_missing_model_is_reported_with_the_command_that_trains_one(context, tmp_path):
    empty = RouteContext(context.emotions, context.recordings, tmp_path, context.cache)
    with pytest.raises(UserError, match="perser icl-train"):
        speech_lm(empty)


def test_a_folder_with_other_content_is_not_overwritten(tmp_path, toy_corpus, toy_episodes_path):
    (tmp_path / "config.json").write_text("another model")
    with pytest.raises(UserError, match="exists and holds no projector"):
        icl_train(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "cache", **QUICK)
    assert (tmp_path / "config.json").read_text() == "another model"


def test_options_can_be_set_on_the_command_line():
    line = "--corpus c --episodes e --out o --steps 7 --lora.r 4 --projector.width 9 --permute_labels 0.5"
    values = parse_command(icl_train, line.split())
    assert values["steps"] == 7
    assert values["lora"] == LoraOptions(r=4)
    assert values["projector"].width == 9
    assert values["permute_labels"] == 0.5


def test_options_can_be_set_in_a_file(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "corpus: c\nepisodes: e\nout: o\nlanguage_model: some/model\nlora: {r: 4, base_weights: 4bit}\n"
        "prompt: {chat: false}\nmissing: 0.25\nlanguage_learning_rate: 1e-4\nloss: query\n"
        "projector_steps: 100\n"
    )
    values = parse_command(icl_train, ["--config", str(tmp_path / "run.yaml"), "--missing", "0.5"])
    assert values["lora"] == LoraOptions(r=4, base_weights="4bit")
    assert values["prompt"].chat is False
    expected = {"missing": 0.5, "language_learning_rate": 1e-4, "loss": "query", "projector_steps": 100}
    assert {name: values[name] for name in expected} == expected


def test_wrong_options_are_refused_before_the_corpus_is_encoded(
    tmp_path, toy_corpus, toy_episodes_path, llama_folder, monkeypatch
):
    def encode(*args, **kwargs):
        raise AssertionError("the corpus was encoded before the check")

    monkeypatch.setattr(train, "cached_features", encode)
    wrong = {
        "no linear layer 'nothing'": {"lora": LoraOptions(targets=("nothing",))},
        "not a model folder": {"language_model": str(tmp_path)},
        r"has 2048: \d+ pairs fit": {"projector": ProjectorOptions(tokens_per_clip=500)},
        "cannot encode the label": {},
        "no chat template": {"prompt": PromptOptions(chat=True)},
        "unknown emotion 'bored'": {"prompt": PromptOptions(label_words={"bored": "bored"})},
    }
    label_words = PromptOptions(label_words=dict(zip(toy_corpus.emotions.names, LABELS, strict=True)))
    for message, options in wrong.items():
        options = {"language_model": str(llama_folder)} | options
        if "projector" in options:
            options["prompt"] = label_words
        with pytest.raises(UserError, match=message) as error:
            icl_train(
                toy_corpus.folder, toy_episodes_path, tmp_path / "o", tmp_path / "c", **options, **QUICK
            )
        assert "\n" not in str(error.value)


def test_a_misspelled_option_is_named():
    with pytest.raises(UserError, match="--stepz"):
        parse_command(icl_train, ["--corpus", "c", "--episodes", "e", "--out", "o", "--stepz", "7"])


def test_a_methods_name_sets_demonstration_options(context, toy_episodes):
    method = build_method("speech-lm-4+orders=2+calibrated", context)
    assert method.describe() == {"pairs": 4, "orders": 2, "calibrated": True}
    probabilities = method.personalize(toy_episodes.episodes[0].support).predict_proba(["s0-sad-0"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_methods_options_are_checked_before_its_model_is_loaded():
    check_method("speech-lm-8+chosen", k=8)
    with pytest.raises(UserError, match=r"no option '\+order=2'"):
        check_method("speech-lm-8+order=2", k=8)
    with pytest.raises(UserError, match="random has no options"):
        check_method("random+calibrated", k=8)


def test_the_context_check_covers_validation_persons(
    toy_corpus, toy_episodes, toy_episodes_path, tmp_path, monkeypatch
):
    checked = []

    def check(language_model, prompt, emotions, tasks, *others):
        checked.extend(task.person for task in tasks)
        raise UserError("stop here")

    monkeypatch.setattr(train, "check_training_fits", check)
    with pytest.raises(UserError, match="stop here"):
        icl_train(toy_corpus.folder, toy_episodes_path, tmp_path / "o", tmp_path / "c", **QUICK)
    tasks = [*toy_episodes.training_tasks(toy_corpus), *toy_episodes.validation_tasks(toy_corpus)]
    assert checked == [task.person for task in tasks]
    assert len(set(checked)) > len(toy_episodes.training_tasks(toy_corpus))
