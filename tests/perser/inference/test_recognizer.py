from __future__ import annotations

from math import log

import numpy as np
import pytest
import soundfile
import torch

from perser.device import loading_device
from perser.errors import UserError
from perser.inference import recognizer as recognizer_module
from perser.inference.clips import CLIPS_AT_ONCE, Failure
from perser.inference.recognizer import PersonalRecognizer, Prediction, Recognizer


def samples(level: float = 0.0) -> np.ndarray:
    """Return 0.1 s with this mean, by which the fake model decides."""
    return level + 0.01 * np.sin(np.arange(1600))


@pytest.fixture
def recognizer(fake_model, tmp_path) -> Recognizer:
    return Recognizer.from_pretrained(tmp_path / "model")


def test_a_model_is_loaded_for_the_device_where_it_will_be_used(fake_model, tmp_path, monkeypatch):
    devices, tf32 = [], []
    monkeypatch.setattr(recognizer_module, "compute_device", lambda name: name)
    monkeypatch.setattr(recognizer_module, "set_tf32", lambda device, allowed: tf32.append((device, allowed)))
    monkeypatch.setattr(
        recognizer_module, "load_route_model", lambda folder: devices.append(loading_device()) or fake_model
    )
    Recognizer.from_pretrained(tmp_path / "model", "cuda:1")
    assert devices == [torch.device("cuda:1")]
    assert tf32 == [(torch.device("cuda:1"), False)], "answers are computed in full float32"
    assert fake_model.device == "cuda:1"


def test_without_an_enrollment_the_model_answers_unadapted(recognizer, write_clip):
    path = write_clip("sad.wav", 2)
    (prediction,) = recognizer.predict([path])
    assert prediction.path == str(path)
    assert prediction.unadapted is None
    assert prediction.labels == ("sad",)
    scores = np.exp(-8 * np.array([0.5, 0.25, 0.0]))
    np.testing.assert_allclose(list(prediction.probabilities.values()), scores / scores.sum(), rtol=0.02)
    assert list(prediction.probabilities) == ["angry", "happy", "sad"]


def test_confidence_is_one_minus_the_normalized_entropy(recognizer):
    (prediction,) = recognizer.predict([samples(0.1)])
    p = list(prediction.probabilities.values())
    assert prediction.confidence == pytest.approx(1 + sum(q * log(q) for q in p) / log(3), abs=1e-6)


def test_an_enrollment_changes_the_answer_and_the_unadapted_one_is_given_too(recognizer, write_clip):
    clip = write_clip("happy.wav", 1)
    personal = recognizer.enroll([(write_clip("a.wav", 0), "Angry"), (clip, ("angry", "angry"))])
    (before,), (after,) = recognizer.predict([clip]), personal.predict([clip])
    assert after.probabilities["angry"] > before.probabilities["angry"]
    assert after.unadapted.probabilities == before.probabilities
    assert (after.unadapted.labels, after.unadapted.confidence) == (before.labels, before.confidence)
    assert [clip.emotions for clip in personal.enrolled] == [("angry",), ("angry",)]
    assert [clip.name for clip in personal.enrolled] == ["a.wav", "happy.wav"]


def test_clips_are_encoded_once_in_batches(recognizer, fake_model):
    clips = [samples(i % 3 / 4) for i in range(2 * CLIPS_AT_ONCE + 5)]
    personal = recognizer.enroll([(clips[0], "sad")])
    fake_model.encoded.clear()
    predictions = personal.predict(clips)
    assert fake_model.encoded == [CLIPS_AT_ONCE, CLIPS_AT_ONCE, 5]
    assert [prediction.path for prediction in predictions] == [f"clip {i + 1}" for i in range(len(clips))]
    assert predictions[1].probabilities == predictions[4].probabilities != predictions[2].probabilities


def test_bad_clips_do_not_affect_the_others(recognizer, write_clip, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    clips = [
        write_clip("a.wav", 0),
        tmp_path / "text.wav",
        tmp_path / "missing.wav",
        write_clip("long.wav", 1, 1.5),
        write_clip("b.wav", 2),
    ]
    personal = recognizer.enroll([(clips[0], "angry")])
    answers = list(personal.stream(clips))
    assert [type(answer) for answer in answers] == [Prediction, Failure, Failure, Failure, Prediction]
    assert [answer.path for answer in answers] == [str(clip) for clip in clips]
    assert "unreadable" in answers[1].reason
    assert answers[2].reason == "missing"
    assert "too long" in answers[3].reason
    assert answers[4] == personal.predict(clips[4:])[0]
    with pytest.raises(UserError, match=r"missing\.wav: missing"):
        personal.predict(clips[2:])


def test_a_wrong_enrollment_is_refused(recognizer, write_clip):
    with pytest.raises(UserError, match="nothing to enroll"):
        recognizer.enroll([])
    with pytest.raises(UserError, match=r"cannot enroll .*a\.wav: unknown emotion 'bored'"):
        recognizer.enroll([(write_clip("a.wav", 0), "bored")])
    with pytest.raises(UserError, match="without any emotion"):
        recognizer.enroll([(write_clip("a.wav", 0), ())])
    with pytest.raises(UserError, match="cannot enroll nowhere: missing"):
        recognizer.enroll([("nowhere", "sad")])


@pytest.mark.parametrize("wrong", [["a.wav", "sad"], ["ab"], [("a.wav", 3)], [("a.wav", "sad", 1)], [3]])
def test_an_example_that_is_no_pair_is_refused(wrong, recognizer):
    with pytest.raises(UserError, match=r"^cannot enroll example 1: give a pair of a clip and its emotions$"):
        recognizer.enroll(wrong)


def test_clips_in_memory_get_the_answer_and_the_errors_of_files(recognizer, write_clip):
    path = write_clip("a.wav", 1)
    floats, rate = soundfile.read(path)
    stored = (32768 * floats).astype(np.int16)
    forms = [path, path.read_bytes(), stored, (rate, np.stack([stored, stored], axis=1)), stored / 32768]
    forms += [{"array": stored, "sampling_rate": rate}, {"bytes": path.read_bytes(), "path": None}]
    personal = recognizer.enroll([(forms[3], "sad"), (forms[1], "angry")])
    for form, prediction in zip(forms, personal.predict(forms), strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(
            list(personal.predict(path)[0].probabilities.values()), abs=1e-4
        )
        assert personal.predict(form)[0].probabilities == prediction.probabilities
    for wrong, reason in ((stored[:320], "too short"), (0 * stored, "silent"), (stored * 1.0, "no sound")):
        with pytest.raises(UserError, match=f"^clip 1: {reason}"):
            personal.predict(wrong)
        with pytest.raises(UserError, match=f"^cannot enroll clip 2: {reason}"):
            recognizer.enroll([(path, "sad"), (wrong, "sad")])


@pytest.mark.parametrize("keep_audio", [False, True])
def test_a_saved_profile_gives_the_same_answers(keep_audio, recognizer, write_clip, tmp_path):
    clip = write_clip("sub/a.wav", 0)
    personal = recognizer.enroll([(clip, "sad"), (samples(0.5), ("angry", "sad"))])
    personal.save(tmp_path / "alice.profile", keep_audio)
    again = PersonalRecognizer.load(tmp_path / "alice.profile")
    assert again.predict([clip]) == personal.predict([clip])
    assert again.enrolled == personal.enrolled
    assert ((tmp_path / "alice.profile").stat().st_size > 4 * 3200) == keep_audio
    again.save(tmp_path / "copy.profile", keep_audio)
    assert (tmp_path / "copy.profile").stat().st_size == (tmp_path / "alice.profile").stat().st_size
    assert str(clip.parent) not in (tmp_path / "alice.profile").read_bytes().decode(errors="replace")


def test_a_profile_without_features_goes_on_learning_from_its_audio(recognizer, write_clip, tmp_path):
    examples = [(write_clip(f"{number}.wav", number), "sad") for number in range(3)]
    queries = [samples(0.1), samples(0.4)]
    expected = recognizer.enroll(examples).predict(queries)
    recognizer.enroll(examples[:1]).save(tmp_path / "alice.profile", keep_audio=True)
    before = PersonalRecognizer.load(tmp_path / "alice.profile")
    assert before.keeps_audio
    assert before.enroll(examples[1:]).predict(queries) == expected
    with pytest.raises(UserError, match="nothing to enroll"):
        before.enroll([])
    with pytest.raises(UserError, match="bored"):
        before.enroll([(examples[1][0], "bored")])


def test_clips_can_be_named_and_a_loaded_model_reads_profiles(recognizer, tmp_path):
    clip = samples(0.1)
    personal = recognizer.enroll([(clip, "sad"), (clip + 0.5, "angry")], ["first", "second"])
    assert [clip.name for clip in personal.enrolled] == ["first", "second"]
    personal.save(tmp_path / "p")
    again = recognizer.personal(tmp_path / "p")
    assert again.recognizer is recognizer
    assert again.predict([clip]) == personal.predict([clip])
    with pytest.raises(UserError, match="cannot enroll second: not finite"):
        recognizer.enroll([(clip, "sad"), (clip + np.nan, "angry")], ["first", "second"])


def test_a_profile_of_another_model_is_refused(recognizer, fake_model, tmp_path):
    recognizer.enroll([(samples(), "sad")]).save(tmp_path / "p")
    fake_model.content = "4567"
    with pytest.raises(UserError, match=r"p is of another model .its weights differ"):
        PersonalRecognizer.load(tmp_path / "p")
    fake_model.content, fake_model.route = "0123", "other"
    with pytest.raises(UserError, match=r"of another model .its route: fake; here: other"):
        PersonalRecognizer.load(tmp_path / "p", model=tmp_path)


def test_the_place_of_a_moved_model_has_to_be_given(recognizer, tmp_path):
    recognizer.enroll([(samples(), "sad")]).save(tmp_path / "p")
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no longer in .*model: say where"):
        PersonalRecognizer.load(tmp_path / "p")
    assert PersonalRecognizer.load(tmp_path / "p", tmp_path / "moved").predict([samples()])


def test_it_computes_on_the_chosen_device(fake_model, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recognizer = Recognizer.from_pretrained(tmp_path / "model")
    assert fake_model.device == "cpu"
    recognizer.enroll([(samples(), "sad")]).save(tmp_path / "p")
    PersonalRecognizer.load(tmp_path / "p", device="cpu:0")
    assert fake_model.device == "cpu:0"
    with pytest.raises(UserError, match="device: 'nowhere'"):
        Recognizer.from_pretrained(tmp_path / "model", device="nowhere")


def test_a_profile_finds_its_model_on_the_hub_again(fake_model, downloaded, tmp_path):
    downloaded("somebody/mine", tmp_path / "model")
    personal = Recognizer.from_pretrained("somebody/mine").enroll([(samples(), "sad")])
    personal.save(tmp_path / "p")
    again = PersonalRecognizer.load(tmp_path / "p")
    assert again.recognizer.name == "somebody/mine"
    assert again.predict([samples()]) == personal.predict([samples()])


def test_one_recording_with_two_labels_under_two_names_is_refused(recognizer, write_clip, tmp_path):
    first = write_clip("a.wav", 0)
    second = tmp_path / "b.wav"
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"a\.wav \(angry\) and .*b\.wav \(sad\) are the same recording"):
        recognizer.enroll([(first, "angry"), (second, "sad")])
    assert len(recognizer.enroll([(first, "angry"), (second, "angry")]).enrolled) == 2
