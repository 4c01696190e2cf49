"""`perser enroll` and `perser predict` with a model behind an endpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from perser.audio import load_audio
from perser.cli.main import main
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import without_method
from perser.route import address_of, split_address
from speechlm_icl.audio_llm.chat import wav_base64

from .stub_endpoint import Stub, answer, content, drop, stub_endpoint

GOOD = answer("happy", {"happy": math.log(0.7), "sad": math.log(0.2), "angry": math.log(0.1)})


@pytest.fixture
def clips(toy_corpus, monkeypatch, tmp_path) -> list[Path]:
    """Recordings, with `examples.csv` of the first two in the current folder."""
    monkeypatch.chdir(tmp_path)
    paths = [toy_corpus.recordings.path(name) for name in toy_corpus.recordings.utterance_ids[:4]]
    Path("examples.csv").write_text(f"path,emotions\n{paths[0]},angry\n{paths[1]},happy\n")
    return paths


def enroll(stub: Stub, *more: str) -> None:
    words = ["--model", "some-model", "--examples", "examples.csv", "--out", "alice.profile"]
    main(["enroll", "--endpoint", stub.url, *words, *more])


def answers(*words: str, capsys) -> list[dict]:
    capsys.readouterr()
    main(["predict", "--json", *words])
    return json.loads(capsys.readouterr().out)


def test_a_profile_names_the_endpoint_and_nothing_is_asked_twice(clips, capsys):
    with stub_endpoint(GOOD) as stub:
        enroll(stub)
        assert not stub.requests  # the clips are kept; the endpoint hears them with a query
        given = answers("--profile", "alice.profile", str(clips[2]), capsys=capsys)
        assert len(stub.requests) == 2  # with the enrollment, and without
        again = answers("--profile", "alice.profile", str(clips[2]), capsys=capsys)
        assert len(stub.requests) == 2
    assert given == again
    assert given[0]["probabilities"]["happy"] == pytest.approx(0.7, abs=1e-4)
    asked = max(stub.requests, key=lambda request: len(request["messages"]))
    said = [message["content"] for message in asked["messages"] if message["role"] == "assistant"]
    assert said == ["angry", "happy"]
    assert asked["model"] == "some-model"


def test_clips_are_answered_without_a_profile_and_a_profile_goes_on_learning(clips, capsys):
    with stub_endpoint(GOOD) as stub:
        words = ["--endpoint", stub.url, "--model", "some-model", "--enroll", f"{clips[0]}=sad"]
        given = answers(*words, "--", str(clips[2]), capsys=capsys)
        assert given[0]["labels"]
        enroll(stub, "--open_labels", "true")
        Path("more.csv").write_text(f"path,emotions\n{clips[3]},happy\n")
        main(["enroll", "--profile", "alice.profile", "--examples", "more.csv"])
        grown = PersonalRecognizer.load("alice.profile")
        assert [clip.emotions for clip in grown.enrolled] == [("angry",), ("happy",), ("happy",)]
        assert grown.emotions.names == ("angry", "happy")


def test_a_file_of_settings_is_an_endpoint_wherever_the_profile_is_used(clips, capsys, monkeypatch, tmp_path):
    with stub_endpoint(GOOD) as stub:
        Path("there.json").write_text(json.dumps({"url": stub.url, "model": "named-there", "tries": 2}))
        main(["enroll", "--endpoint", "there.json", "--examples", "examples.csv", "--out", "alice.profile"])
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        answers("--profile", "../alice.profile", str(clips[2]), capsys=capsys)
        assert stub.requests[0]["model"] == "named-there"
    (tmp_path / "there.json").unlink()
    with pytest.raises(UserError, match=r"there.json, the settings of the endpoint, is gone: put it back"):
        PersonalRecognizer.load("../alice.profile")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (drop, "gave no answer in 2 tries"),
        (content(500, "broken"), "gave no answer in 2 tries (HTTP 500: broken)"),
        (content(401, "who are you?"), "refuses the key (HTTP 401)"),
        (content(307, "", location="http://elsewhere.invalid/"), "sends questions elsewhere (HTTP 307)"),
    ],
)
def test_an_endpoint_that_gives_no_answer_ends_in_one_line(clips, capsys, act, said):
    """It is not asked about the other clips, which would fare no better."""
    with stub_endpoint(act) as stub:
        Path("there.json").write_text(json.dumps({"url": stub.url, "model": "m", "tries": 2}))
        with pytest.raises(SystemExit):
            main(["predict", "--endpoint", "there.json", *map(str, clips)])
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert said in error
    assert len(stub.requests) <= 2


def test_a_question_that_is_refused_concerns_one_clip(clips, capsys):
    """The other clips are answered."""

    def too_long(handler, body):
        clip = body["messages"][-1]["content"][-1]["input_audio"]["data"]
        (content(413, "too long") if clip == longest else answer("sad", {"sad": -0.1}))(handler, body)

    texts = [wav_base64(load_audio(clip).numpy(), "PCM_16") for clip in clips]
    longest = max(texts, key=len)
    with stub_endpoint(too_long) as stub, pytest.raises(SystemExit) as stopped:
        main(["predict", "--endpoint", stub.url, "--model", "m", "--csv", *map(str, clips)])
    assert stopped.value.code == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == len(clips)  # the heading, and all but one
    (error,) = output.err.strip().splitlines()
    assert error.startswith(f"perser: {clips[texts.index(longest)]}: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--endpoint", "nonsense", "--model", "m"], "'nonsense' is neither an address nor a JSON file"),
        (["--endpoint", "http://user:pass@here/v1", "--model", "m"], "must not hold a name, password or key"),
        (["--endpoint", "http://localhost:1/v1"], "give the name that the endpoint knows the model by"),
        (["--endpoint", "http://localhost:1/v1", "--profile", "a.profile"], "the profile names its own"),
        (["--endpoint", "http://localhost:1/v1", "--model", "m", "--device", "cpu"], "the server computes"),
    ],
)
def test_a_wrong_endpoint_is_one_line(clips, words, message, capsys):
    with pytest.raises(SystemExit):
        main(["predict", *words, str(clips[2])])
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert "pass@" not in error


def test_addresses_are_told_from_other_names(tmp_path):
    file = tmp_path / "there.json"
    file.write_text("{}")
    assert address_of(str(file), None) == f"{file}#"
    assert split_address("http://localhost/v1#some/model-7B") == ("http://localhost/v1", "some/model-7B")
    for name in ("owner/name", "runs/models/speech-lm", "starter", "a#b"):
        assert split_address(name) is None


def test_a_model_may_be_named_as_the_method_names_it(tiny_folder, clips):
    folder = tiny_folder("qwen2_audio")
    assert without_method(f"audio-llm:{folder}") == str(folder)
    assert without_method("http://localhost/v1#m") == "http://localhost/v1#m"
    recognizer = Recognizer.from_pretrained(f"audio-llm:{folder}")
    assert recognizer.name == str(folder.resolve())
