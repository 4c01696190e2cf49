from __future__ import annotations

import copy

import numpy as np
import pytest
import soundfile
import torch

from perser.demo.session import Session
from perser.demo.simulated_clips import SimulatedClip
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.web.limits import Limits


@pytest.fixture
def session(fake_model, tmp_path) -> Session:
    recognizer = Recognizer.from_pretrained(tmp_path / "model")
    return Session({"model": recognizer}, Limits(seconds=2, examples=3), tmp_path)


@pytest.fixture
def labeled(session, write_clip) -> Session:
    """Two examples, and a clip to answer about."""
    session.label(session.add(write_clip("a.wav", 0)), ["angry"])
    session.label(session.add(write_clip("b.wav", 1)), ["happy", "sad"])
    session.choose(write_clip("c.wav", 2))
    return session


def expected(session, write_clip, *pairs):
    """The recognizer's own answer about that clip after these pairs."""
    recognizer = session.models["model"]
    clips = [write_clip(f"p{number}.wav", place) for number, (place, _) in enumerate(pairs)]
    personal = recognizer.enroll([(clip, words) for clip, (_, words) in zip(clips, pairs, strict=True)])
    return personal.predict([write_clip("q.wav", 2)])[0]


def test_the_answer_is_that_of_the_recognizer(labeled, write_clip):
    (reply,) = labeled.replies()
    wanted = expected(labeled, write_clip, (0, "angry"), (1, "happy;sad"))
    assert (reply.model, reply.enrolled, reply.problem) == ("model", 2, "")
    assert reply.prediction.probabilities == wanted.probabilities
    assert reply.prediction.unadapted == wanted.unadapted


def test_hidden_files_that_were_uploaded_with_a_folder_are_left_out_by_name(session, write_clip):
    hidden = write_clip("._a.wav", 0)
    with pytest.raises(UserError, match=r"\._a\.wav: left out, because it is a hidden file"):
        session.add(hidden)
    assert session.examples == {}
    session.close()
    assert not hidden.exists()


def test_adding_changing_or_removing_an_example_changes_the_answer(labeled, write_clip):
    def now():
        return labeled.replies()[0].prediction.probabilities

    key = labeled.add(write_clip("d.wav", 2))
    two = now()
    labeled.label(key, ["sad"])
    assert now() == expected(labeled, write_clip, (0, "angry"), (1, "happy;sad"), (2, "sad")).probabilities
    labeled.label(key, ["angry"])
    assert now() == expected(labeled, write_clip, (0, "angry"), (1, "happy;sad"), (2, "angry")).probabilities
    labeled.label(key, [])
    assert now() == two
    labeled.remove(key)
    labeled.remove(key)
    assert now() == two
    for left in list(labeled.examples):
        labeled.remove(left)
        labeled.label(left, ["sad"])  # a click that came late
    (reply,) = labeled.replies()
    assert (reply.enrolled, reply.prediction.unadapted) == (0, None)


def test_models_are_enrolled_again_only_after_examples_change(labeled, fake_model, write_clip):
    labeled.replies()
    fake_model.encoded.clear()
    labeled.choose(write_clip("d.wav", 0))
    labeled.label("example 1", ["angry"])
    labeled.add(write_clip("e.wav", 0))
    labeled.replies()
    assert fake_model.encoded == [1], "the clip alone"
    labeled.label("example 1", ["sad"])
    labeled.replies()
    assert fake_model.encoded == [1, 2, 1]


def test_an_example_that_changes_while_a_model_is_enrolled_counts(
    labeled, fake_model, write_clip, monkeypatch
):
    encode = fake_model.encode_clips

    def change_meanwhile(clips):
        if len(clips.utterance_ids) == 2:
            labeled.label("example 1", ["sad"])  # as another thread may
        return encode(clips)

    monkeypatch.setattr(fake_model, "encode_clips", change_meanwhile)
    labeled.replies()
    monkeypatch.undo()
    (reply,) = labeled.replies()
    wanted = expected(labeled, write_clip, (0, "sad"), (1, "happy;sad"))
    assert reply.prediction.probabilities == wanted.probabilities


def test_there_is_no_answer_without_a_clip(session, write_clip):
    assert session.replies() == []
    session.choose(write_clip("a.wav", 0))
    assert session.replies()[0].prediction.labels == ("angry",)
    session.choose(None)
    assert session.replies() == []


def test_a_file_that_cannot_be_used_is_refused_without_naming_its_folder(session, tmp_path):
    (tmp_path / "note.wav").write_text("no sound")
    soundfile.write(tmp_path / "long.ogg", np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000)
    soundfile.write(tmp_path / "large.wav", np.zeros((2**20, 12)), 16_000)
    reasons = {"note.wav": "unreadable", "long.ogg": "longer than 2 s", "large.wav": "larger than 20 MB"}
    for name, reason in reasons.items():
        for take in (session.add, session.choose):
            with pytest.raises(UserError, match=f"^{name}: {reason}"):
                take(tmp_path / name)
    assert (session.examples, session.replies()) == ({}, [])


def test_a_page_holds_a_limited_number_of_examples(session, write_clip):
    for number in range(3):
        session.add(write_clip(f"{number}.wav", 0))
    with pytest.raises(UserError, match=r"more\.wav: there can be 3 examples at most, remove one first"):
        session.add(write_clip("more.wav", 0))
    session.remove("example 2")
    assert session.add(write_clip("more.wav", 0)) == "example 4"


def test_a_problem_of_a_model_is_reported_and_the_rest_is_answered(labeled, write_clip):
    labeled.label(labeled.add(write_clip("long.wav", 0, 1.5)), ["sad"])
    (reply,) = labeled.replies()
    assert "'example 3' is too long" in reply.problem
    assert reply.prediction.unadapted is None
    labeled.choose(write_clip("long.wav", 0, 1.5))
    (reply,) = labeled.replies()
    assert reply.prediction is None
    assert "too long" in reply.problem


def test_a_profile_is_saved_and_loaded(labeled, session, tmp_path, write_clip):
    path = labeled.save_profile("model")
    assert path.name == "model.profile"
    answered = labeled.replies()[0].prediction
    (loaded,) = PersonalRecognizer.load(path).predict([write_clip("c.wav", 2)])
    assert loaded.probabilities == answered.probabilities
    assert [clip.name for clip in PersonalRecognizer.load(path).enrolled] == ["example 1", "example 2"]
    other = copy.deepcopy(session)
    assert other.load_profile(path) == "model"
    other.choose(write_clip("c.wav", 2))
    assert other.replies()[0].prediction == answered
    assert other.replies()[0].enrolled == 2
    other.label(other.add(write_clip("d.wav", 0)), ["sad"])
    assert other.replies()[0].enrolled == 1, "the page's own examples again"


def test_a_file_that_is_no_profile_of_these_models_is_refused(labeled, fake_model, tmp_path):
    path = labeled.save_profile("model")
    fake_model.content = "4567"
    with pytest.raises(UserError, match=r"^model\.profile is not a profile of model"):
        labeled.load_profile(path)
    (tmp_path / "x.profile").write_text("nothing")
    with pytest.raises(UserError, match=r"^x\.profile is not a profile"):
        labeled.load_profile(tmp_path / "x.profile")


def test_a_profile_without_labeled_examples_is_refused(session, write_clip):
    session.add(write_clip("a.wav", 0))
    with pytest.raises(UserError, match="label an example first"):
        session.save_profile("model")


def test_a_copy_is_an_empty_session_on_the_same_models(labeled):
    other = copy.deepcopy(labeled)
    assert other.models is labeled.models
    assert (other.examples, other.replies()) == ({}, [])


def test_closing_removes_every_file(labeled, tmp_path, write_clip):
    uploads = {"a.wav", "b.wav", "c.wav", "note.wav", "x.profile"}
    for name, take in (("note.wav", labeled.add), ("x.profile", labeled.load_profile)):
        (tmp_path / name).write_text("no sound")
        with pytest.raises(UserError):
            take(tmp_path / name)
    profile = labeled.save_profile("model")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == uploads
    labeled.close()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not profile.exists()
    assert (labeled.examples, labeled.replies()) == ({}, [])


def test_a_label_of_the_persons_own_is_learned_once_it_is_used(labeled):
    labeled.add_label(" Very  tired ")
    assert labeled.choices == ("angry", "happy", "sad", "very tired")
    assert set(labeled.replies()[0].prediction.probabilities) == {"angry", "happy", "sad"}
    labeled.label("example 1", ["very tired"])
    (reply,) = labeled.replies()
    assert (reply.enrolled, reply.problem) == (2, "")
    assert list(reply.prediction.probabilities) == ["very tired", "happy", "sad"]
    assert list(reply.prediction.unadapted.probabilities) == ["very tired", "happy", "sad"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("Happy", "'Happy' is a label already"), ("a b c", "'a b c' cannot be a label"), ("", "'' cannot be")],
)
def test_a_label_that_cannot_be_added_is_refused(text, problem, session):
    with pytest.raises(UserError, match=problem):
        session.add_label(text)
    assert session.own_labels == ()


def test_one_label_of_the_persons_own_alone_is_explained(session, write_clip):
    session.add_label("tired")
    session.label(session.add(write_clip("a.wav", 0)), ["tired"])
    session.choose(write_clip("c.wav", 2))
    (reply,) = session.replies()
    assert "need at least two" in reply.problem
    assert reply.enrolled == 0


def test_an_answer_comes_with_the_one_before_the_last_change(labeled):
    (first,) = labeled.replies()
    assert first.before is None
    (again,) = labeled.replies()
    assert again.before is None, "nothing changed"
    labeled.label("example 1", ["sad"])
    (changed,) = labeled.replies()
    assert changed.before == first.prediction.probabilities
    assert changed.prediction.probabilities != first.prediction.probabilities
    (again,) = labeled.replies()
    assert again.before == first.prediction.probabilities, "it stays until the next change"
    for key in list(labeled.examples):
        labeled.remove(key)
    (without,) = labeled.replies()
    assert without.before == changed.prediction.probabilities


def test_another_clip_has_no_answer_before(labeled, write_clip):
    labeled.replies()
    labeled.choose(write_clip("d.wav", 1))
    labeled.label("example 1", ["sad"])
    assert labeled.replies()[0].before is None


def test_simulated_clips_are_asked_about_and_added(fake_model, tmp_path):
    clip = SimulatedClip("clip A", "text", 0.5 + 0.01 * torch.sin(torch.arange(3200.0)))
    recognizer = Recognizer.from_pretrained(tmp_path / "model")
    session = copy.deepcopy(Session({"model": recognizer}, Limits(examples=1), tmp_path, [clip]))
    session.choose_simulated("clip A")
    assert session.clip_name == "clip A, simulated speech"
    (reply,) = session.replies()
    assert reply.prediction.labels == ("sad",)
    key = session.add_simulated("clip A")
    session.label(key, ["happy"])
    assert session.replies()[0].enrolled == 1
    with pytest.raises(UserError, match="clip A: there can be 1 example at most, remove one first"):
        session.add_simulated("clip A")


def test_the_clip_to_label_next_is_one_that_waits(session, write_clip):
    with pytest.raises(UserError, match="there are no examples: add a clip first"):
        session.label_next()
    keys = [session.add(write_clip(f"{place}.wav", place)) for place in (0, 1, 2)]
    session.label(keys[0], ["angry"])
    waiting = set(keys[1:])
    assert session.label_next() in waiting
    # The only choice: the clip farthest from what is labeled.
    session.label(keys[1], ["happy"])
    assert session.label_next() == keys[2]
    session.label(keys[2], ["sad"])
    with pytest.raises(UserError, match="all your examples are labeled"):
        session.label_next()
