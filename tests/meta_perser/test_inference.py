"""The gradient route on single clips gives the answers of the methods that are measured."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from meta_perser.inference import CLIPS, GradientModel
from meta_perser.recognizer.model import EmotionRecognizer
from perser.errors import UserError
from perser.inference.profile import Profile
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.inference.standardization import DEVIATION, MEAN
from perser.installed_routes import build_method


def rows(predictions):
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


def examples_of(support, recordings):
    pairs = zip(support.utterances, support.emotions, strict=True)
    return [(recordings.path(name), emotions) for name, emotions in pairs]


@pytest.mark.parametrize(
    ("folder", "method"), [("meta-perser", "meta-perser"), ("ssl-e", "head-few"), ("linear", "linear-few")]
)
def test_its_answers_are_those_of_the_measured_method(folder, method, trained, toy_episodes, tmp_path):
    episode, recordings = toy_episodes.episodes[0], trained.recordings
    queries = episode.query_utterances
    recognizer = Recognizer.from_pretrained(trained.models / folder)
    personal = recognizer.enroll(examples_of(episode.support, recordings))
    predictions = personal.predict([recordings.path(name) for name in queries])
    expected = build_method(method, trained).personalize(episode.support).predict_proba(queries)
    np.testing.assert_allclose(rows(predictions), expected, atol=1e-5)
    if folder == "ssl-e":
        zero = build_method("entire-zero", trained).personalize(episode.support)
        unadapted = rows([prediction.unadapted for prediction in predictions])
        np.testing.assert_allclose(unadapted, zero.predict_proba(queries), atol=1e-5)
        assert np.abs(unadapted - expected).max() > 1e-3
    personal.save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile")
    samples = [recordings.waveform(name).numpy() for name in queries]
    np.testing.assert_allclose(rows(again.predict(samples)), expected, atol=1e-5)


def test_a_profile_holds_only_the_adapted_weights_and_the_clips_time_means(trained, toy_episodes, tmp_path):
    recognizer = Recognizer.from_pretrained(trained.models / "meta-perser")
    support = toy_episodes.episodes[0].support
    recognizer.enroll(examples_of(support, trained.recordings)).save(tmp_path / "p")
    moved = sum(weight.numel() for weight in recognizer.model.model.trainable_parameters().values())
    files = [path for path in (trained.models / "meta-perser").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    means = len(support) * recognizer.model.model.state_mean.numel()
    assert (tmp_path / "p").stat().st_size < 4 * (moved + means) + 4096 < size / 10


@pytest.mark.parametrize(("folder", "method"), [("meta-perser", "meta-perser"), ("ssl-e", "head-few")])
def test_standardized_by_the_enrolled_clips_it_answers_as_the_method_does(
    folder, method, trained, toy_episodes, tmp_path
):
    episode, recordings = toy_episodes.episodes[0], trained.recordings
    examples = examples_of(episode.support, recordings)
    recognizer = Recognizer.from_pretrained(trained.models / folder)
    personal = recognizer.enroll(examples, standardize="enrolled")
    queries = [recordings.path(name) for name in episode.query_utterances]
    moved = build_method(f"{method}+standardize=enrolled", trained).personalize(episode.support)
    expected = moved.predict_proba(episode.query_utterances)
    predictions = personal.predict(queries)
    np.testing.assert_allclose(rows(predictions), expected, atol=1e-5)
    unadapted = rows([prediction.unadapted for prediction in predictions])
    np.testing.assert_allclose(unadapted, rows(recognizer.predict(queries)), atol=1e-6)
    assert np.abs(rows(recognizer.enroll(examples).predict(queries)) - expected).max() > 1e-4, (
        "with the model's own emotions, its own standardization stays"
    )
    recognizer.enroll(examples[:3], standardize="enrolled").save(tmp_path / "alice.profile")
    again = PersonalRecognizer.load(tmp_path / "alice.profile").enroll(examples[3:])
    again.save(tmp_path / "alice.profile")
    loaded = PersonalRecognizer.load(tmp_path / "alice.profile")
    np.testing.assert_allclose(rows(loaded.predict(queries)), expected, atol=1e-5)


def test_labels_of_a_persons_own_are_learned_by_the_enrolled_clips_unless_told_otherwise(
    trained, toy_episodes
):
    episode, recordings = toy_episodes.episodes[0], trained.recordings
    examples = [
        (clip, "loud" if number % 2 else "calm")
        for number, (clip, _) in enumerate(examples_of(episode.support, recordings))
    ]
    recognizer = Recognizer.from_pretrained(trained.models / "meta-perser")
    queries = [recordings.path(name) for name in episode.query_utterances]
    usual, enrolled, own = (
        rows(recognizer.enroll(examples, labels="open", standardize=by).predict(queries))
        for by in (None, "enrolled", "model")
    )
    np.testing.assert_array_equal(usual, enrolled)
    assert np.abs(own - enrolled).max() > 1e-4


def test_a_profile_with_a_standardization_of_another_shape_is_damaged(trained, toy_episodes, tmp_path):
    recognizer = Recognizer.from_pretrained(trained.models / "meta-perser")
    examples = examples_of(toy_episodes.episodes[0].support, trained.recordings)
    personal = recognizer.enroll(examples, standardize="enrolled")
    usual = dict(personal._tensors)
    for name, changed, message in (
        (MEAN, usual[MEAN][:1], "standardization is not of this model's features"),
        (DEVIATION, 0 * usual[DEVIATION], "deviation that is not above 0"),
        (MEAN, None, "standardization lacks a mean or a deviation"),
        (DEVIATION, None, "standardization lacks a mean or a deviation"),
    ):
        tensors = usual | {name: changed}
        personal._tensors = {key: tensor for key, tensor in tensors.items() if tensor is not None}
        personal.save(tmp_path / "alice.profile")
        with pytest.raises(UserError, match=message):
            PersonalRecognizer.load(tmp_path / "alice.profile")


@pytest.mark.parametrize("folder", ["meta-perser", "ssl-e"])
def test_a_profile_that_goes_on_learning_is_that_of_all_clips_at_once(
    folder, trained, toy_episodes, tmp_path, monkeypatch
):
    examples = examples_of(toy_episodes.episodes[0].support, trained.recordings)
    recognizer = Recognizer.from_pretrained(trained.models / folder)
    at_once = recognizer.enroll(examples)
    recognizer.enroll(examples[:3]).save(tmp_path / "alice.profile")
    before = PersonalRecognizer.load(tmp_path / "alice.profile")
    encoded = []
    encode = GradientModel.encode_clips
    monkeypatch.setattr(
        GradientModel, "encode_clips", lambda self, clips: encoded.append(clips) or encode(self, clips)
    )
    again = before.enroll(examples[3:])
    assert [len(clips.utterance_ids) for clips in encoded] == [len(examples) - 3], (
        "new clips alone are encoded"
    )
    again.save(tmp_path / "alice.profile")
    at_once.save(tmp_path / "bob.profile")
    profiles = [Profile.load(tmp_path / f"{name}.profile") for name in ("alice", "bob")]
    assert profiles[0].enrolled == profiles[1].enrolled
    assert profiles[0].tensors.keys() == profiles[1].tensors.keys()
    for name, tensor in profiles[0].tensors.items():
        torch.testing.assert_close(tensor, profiles[1].tensors[name], rtol=0, atol=0)


def test_a_profile_of_other_scopes_goes_on_learning_only_with_its_audio(trained, toy_episodes, tmp_path):
    examples = examples_of(toy_episodes.episodes[0].support, trained.recordings)
    recognizer = Recognizer.from_pretrained(trained.models / "ssl-e")
    recognizer.model.model.set_scope("top_layers:1")
    queries = [path for path, _ in examples]
    at_once = rows(recognizer.enroll(examples).predict(queries))
    before = recognizer.enroll(examples[:3])
    np.testing.assert_allclose(rows(before.enroll(examples[3:]).predict(queries)), at_once, atol=1e-6)
    before.save(tmp_path / "alice.profile")
    with pytest.raises(UserError, match=r"neither features nor audio.*--keep_audio true"):
        recognizer.personal(tmp_path / "alice.profile").enroll(examples[3:])
    before.save(tmp_path / "alice.profile", keep_audio=True)
    kept = recognizer.personal(tmp_path / "alice.profile").enroll(examples[3:])
    np.testing.assert_allclose(rows(kept.predict(queries)), at_once, atol=1e-6)


def test_a_recording_that_is_enrolled_already_is_refused(trained, toy_episodes):
    examples = examples_of(toy_episodes.episodes[0].support, trained.recordings)
    recognizer = Recognizer.from_pretrained(trained.models / "meta-perser")
    with pytest.raises(UserError, match=f"is enrolled already .as {examples[1][0].name}"):
        recognizer.enroll(examples[:3]).enroll(examples[1:4])


def test_clips_that_do_not_fit_their_labels_are_refused(trained, toy_episodes):
    model = Recognizer.from_pretrained(trained.models / "meta-perser").model
    moving = {name: weight.detach() for name, weight in model.model.trainable_parameters().items()}
    with pytest.raises(UserError, match="clips are not those of its labels"):
        model.predictor(moving | {CLIPS: torch.zeros(2, 3, 4)}, [("sad",)])


def test_a_model_with_other_weights_is_refused(trained, toy_episodes, tmp_path):
    recognizer = Recognizer.from_pretrained(trained.models / "meta-perser")
    recognizer.enroll(examples_of(toy_episodes.episodes[0].support, trained.recordings)).save(tmp_path / "p")
    changed = tmp_path / "changed"
    shutil.copytree(trained.models / "meta-perser", changed)
    weights = load_file(changed / "recogniser.safetensors")
    weights["classifier.bias"][0] += 1e-3
    save_file(weights, changed / "recogniser.safetensors")
    (changed / "checksums.json").unlink()
    for other in (changed, trained.models / "linear"):
        with pytest.raises(UserError, match="p is of another model"):
            PersonalRecognizer.load(tmp_path / "p", other)


def test_tensors_that_the_model_does_not_move_are_refused(trained):
    model = Recognizer.from_pretrained(trained.models / "meta-perser").model
    moving = {name: weight.detach() for name, weight in model.model.trainable_parameters().items()}
    name = next(iter(moving))
    for wrong in ({"other": torch.zeros(2)}, moving | {name: moving[name][:1]}):
        with pytest.raises(UserError, match="not those that the model moves"):
            model.predictor(wrong, ())


def test_a_model_without_a_head_of_its_own_is_refused(trained):
    with pytest.raises(UserError, match="no head of its own"):
        Recognizer.from_pretrained(trained.models / "multi")
    EmotionRecognizer.from_pretrained(trained.models / "multi")  # the model itself is intact


def test_an_answer_imports_nothing_unneeded(trained, needless_imports):
    clip = trained.recordings.path(trained.recordings.utterance_ids[0])
    assert needless_imports(trained.models / "meta-perser", clip) == set()
