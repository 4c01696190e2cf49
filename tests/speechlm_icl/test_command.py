"""`perser icl-train` on a corpus on disk, and the route that reads what it wrote."""

import json

import numpy as np
import pytest

from perser.cli import parse_command
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.personalizer import RouteContext, build_method, check_method
from speechlm_icl.language_model import LoraOptions
from speechlm_icl.route import speech_lm
from speechlm_icl.train import icl_train

QUICK = {"steps": 2, "pairs": 4, "sequences_per_step": 2, "validation_sequences": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy_corpus, toy_episodes_path):
    """A run's folder with the model in it."""
    folder = tmp_path_factory.mktemp("run")
    icl_train(
        toy_corpus.folder,
        toy_episodes_path,
        folder / "models" / "speech-lm",
        folder / "cache",
        encoder="tiny-whisper",
        **QUICK,
    )
    return folder


@pytest.fixture
def context(run, toy_corpus):
    return RouteContext(toy_corpus.emotions, toy_corpus.recordings, run / "models", run / "cache")


def test_the_route_personalises_with_the_model_that_the_command_wrote(context, toy_episodes):
    episode = toy_episodes.episodes[0]
    predictions = {
        pairs: speech_lm(context, pairs).personalize(episode.support).predict_proba(episode.query_utterances)
        for pairs in (None, 0, 8)
    }
    for probabilities in predictions.values():
        assert probabilities.shape == (16, 4)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions[None], predictions[8])


def test_the_run_is_on_record(run, toy_episodes):
    record = json.loads((run / "models" / "speech-lm" / "training.json").read_text())
    assert record["trained_on"] == toy_episodes.training_digest
    assert record["options"]["steps"] == 2
    assert record["history"][-1]["step"] == 2


def test_a_model_of_other_emotions_is_refused(context):
    other = RouteContext(EmotionSet(("yes", "no")), context.recordings, context.models, context.cache)
    with pytest.raises(UserError, match="the corpus has yes, no"):
        speech_lm(other)


def test_a_missing_model_is_named(context, tmp_path):
    empty = RouteContext(context.emotions, context.recordings, tmp_path, context.cache)
    with pytest.raises(UserError, match="perser icl-train"):
        speech_lm(empty)


def test_a_folder_of_other_things_is_not_overwritten(tmp_path, toy_corpus, toy_episodes_path):
    (tmp_path / "config.json").write_text("a model of somebody else")
    with pytest.raises(UserError, match="exists and holds no projector"):
        icl_train(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path / "cache", **QUICK)
    assert (tmp_path / "config.json").read_text() == "a model of somebody else"


def test_every_option_can_be_given_on_the_command_line():
    line = "--corpus c --episodes e --out o --steps 7 --lora.r 4 --projector.width 9 --permute_labels 0.5"
    values = parse_command(icl_train, line.split())
    assert values["steps"] == 7
    assert values["lora"] == LoraOptions(r=4)
    assert values["projector"].width == 9
    assert values["permute_labels"] == 0.5


def test_a_mistyped_option_is_named():
    with pytest.raises(UserError, match="--stepz"):
        parse_command(icl_train, ["--corpus", "c", "--episodes", "e", "--out", "o", "--stepz", "7"])


def test_options_stand_in_the_methods_name(context, toy_episodes):
    method = build_method("speech-lm-4+orders=2+calibrated", context)
    assert method.describe() == {"pairs": 4, "orders": 2, "calibrated": True}
    probabilities = method.personalize(toy_episodes.episodes[0].support).predict_proba(["s0-sad-0"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_options_are_checked_before_anything_is_built():
    check_method("speech-lm-8+chosen", k=8)
    with pytest.raises(UserError, match=r"no option '\+order=2'"):
        check_method("speech-lm-8+order=2", k=8)
    with pytest.raises(UserError, match="random has no options"):
        check_method("random+calibrated", k=8)
