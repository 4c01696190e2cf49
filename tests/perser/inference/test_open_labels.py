"""Labels of a person's own: enrolled, answered, saved and loaded, by the API and by the commands."""

from __future__ import annotations

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from perser.cli.main import main
from perser.errors import UserError
from perser.inference.profile import DIGEST, Profile, _digest
from perser.inference.recognizer import PersonalRecognizer, Recognizer


@pytest.fixture
def recognizer(fake_model, tmp_path) -> Recognizer:
    return Recognizer.from_pretrained(tmp_path / "model")


@pytest.fixture
def examples(write_clip):
    return [(write_clip("a.wav", 0), "Tired"), (write_clip("b.wav", 1), "very sarcastic; Tired")]


def test_the_answer_is_over_the_words_that_the_person_used(recognizer, examples, write_clip):
    personal = recognizer.enroll(examples, labels="open")
    (prediction,) = personal.predict([write_clip("c.wav", 0)])
    assert list(prediction.probabilities) == ["tired", "very sarcastic"]
    assert list(prediction.unadapted.probabilities) == ["tired", "very sarcastic"]
    assert prediction.labels == ("tired",)
    assert [clip.emotions for clip in personal.enrolled] == [("tired",), ("very sarcastic", "tired")]
    assert recognizer.emotions.names == ("angry", "happy", "sad"), "the recognizer itself is unchanged"


def test_a_profile_with_open_labels_is_saved_and_loaded(recognizer, examples, write_clip, tmp_path):
    personal = recognizer.enroll(examples, labels="open")
    personal.save(tmp_path / "own.profile")
    loaded = PersonalRecognizer.load(tmp_path / "own.profile")
    clip = write_clip("c.wav", 1)
    assert loaded.predict([clip]) == personal.predict([clip])
    assert loaded.emotions.names == ("tired", "very sarcastic")
    loaded.save(tmp_path / "again.profile")
    assert Profile.load(tmp_path / "again.profile").open_labels


def test_further_clips_may_have_new_labels(recognizer, examples, write_clip):
    further = [(write_clip("d.wav", 2), "Calm"), (write_clip("e.wav", 3), "Tired")]
    at_once = recognizer.enroll([*examples, *further], labels="open")
    personal = recognizer.enroll(examples, labels="open").enroll(further)
    clip = write_clip("c.wav", 1)
    assert personal.predict([clip]) == at_once.predict([clip])
    assert personal.emotions.names == ("tired", "very sarcastic", "calm")
    assert [example.emotions for example in personal.enrolled][2:] == [("calm",), ("tired",)]
    with pytest.raises(UserError, match="'a b c' cannot be a label"):
        personal.enroll([(write_clip("f.wav", 1), "a b c")])


def test_a_profile_without_open_labels_says_nothing_of_them(recognizer, write_clip, tmp_path):
    recognizer.enroll([(write_clip("a.wav", 0), "sad")]).save(tmp_path / "usual.profile")
    with safe_open(tmp_path / "usual.profile", "pt") as file:
        assert "labels" not in file.metadata(), "as version 0.1.0 wrote them"
    assert not Profile.load(tmp_path / "usual.profile").open_labels


def test_labels_that_do_not_fit_what_was_learned_are_refused(recognizer, examples, tmp_path):
    path = tmp_path / "own.profile"
    recognizer.enroll(examples, labels="open").save(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    header["emotions"] = '["tired", "very sarcastic", "calm"]'
    header.pop(DIGEST)
    save_file(tensors, path, header | {DIGEST: _digest(header, tensors)})
    with pytest.raises(UserError, match="damaged"):
        recognizer.personal(path)


def test_wrong_labels_are_refused_before_anything_is_encoded(recognizer, fake_model, examples):
    (first, _), (second, _) = examples
    for words, problem in (
        (("a b c", "tired"), "'a b c' cannot be a label"),
        (("Tired", "tired"), "differ only in capitals"),
        (("tired", "tired"), "need at least two"),
    ):
        with pytest.raises(UserError, match=problem):
            recognizer.enroll(list(zip((first, second), words, strict=True)), labels="open")
    assert fake_model.encoded == []


def test_a_route_that_cannot_learn_labels_says_so(recognizer, examples, monkeypatch, fake_model):
    monkeypatch.delattr(type(fake_model), "with_labels")
    with pytest.raises(UserError, match="the route fake cannot learn labels of your own: use its emotions"):
        recognizer.enroll(examples, labels="open")


def test_the_commands_enroll_and_answer(recognizer, examples, tmp_path, capsys):
    table = tmp_path / "own.csv"
    table.write_text("path,emotions\na.wav,Tired\nb.wav,very sarcastic\n", encoding="utf-8")
    model, out = str(tmp_path / "model"), str(tmp_path / "own.profile")
    main(["enroll", "--model", model, "--examples", str(table), "--out", out, "--open-labels"])
    assert "2 enrolled under 2 labels" in capsys.readouterr().out
    main(["predict", "--profile", out, "--csv", str(tmp_path / "a.wav")])
    header = capsys.readouterr().out.splitlines()[0]
    assert header.startswith("path,labels,confidence,tired,very sarcastic,")
    pairs = [f"{tmp_path}/a.wav=tired", f"{tmp_path}/b.wav=bored stiff"]
    main(
        ["predict", "--model", model, "--open-labels", "--csv", "--enroll", *pairs, "--", f"{tmp_path}/a.wav"]
    )
    assert ",tired,bored stiff," in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("a.wav,Tired\nb.wav,tired\n", "'Tired' and 'tired' differ only in capitals"),
        ("a.wav,tired\n", "need at least two"),
        ("a.wav,tired\nb.wav,a b c\n", "'a b c' cannot be a label"),
    ],
)
def test_the_command_refuses_wrong_labels_before_the_model_is_loaded(rows, problem, tmp_path, capsys):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()
    table = tmp_path / "own.csv"
    table.write_text(f"path,emotions\n{rows}", encoding="utf-8")
    out = tmp_path / "own.profile"
    arguments = ["--model", "nowhere", "--examples", str(table), "--out", str(out), "--open-labels"]
    with pytest.raises(SystemExit, match="2"):
        main(["enroll", *arguments])
    message = capsys.readouterr().err
    assert problem in message
    assert message.count("\n") == 1
    assert not out.exists()
