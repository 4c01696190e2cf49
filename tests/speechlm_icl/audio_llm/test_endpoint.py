"""Endpoints that answer, and endpoints that do not: every case ends in an answer, a retry, or one line."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from benchmarks.installed import at_endpoint
from perser.errors import UserError
from perser.inference.recognizer import PersonalRecognizer, Recognizer
from perser.installed_routes import build_method, check_models
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.endpoint.client import EndpointClient, EndpointReply
from speechlm_icl.audio_llm.endpoint.model import EndpointLLM
from speechlm_icl.audio_llm.endpoint.reading import from_choice, from_log_probabilities
from speechlm_icl.audio_llm.endpoint.settings import EndpointSettings, check_url, read_settings

from .conftest import EMOTIONS, clip
from .stub_endpoint import Act, Stub, answer, content, drop, reply, stall, stub_endpoint, trickle

KEY = "sk-very-secret-0123456789"
CLIPS, ANSWERS = [clip(0, 0.5), clip(1, 0.6)], [(0,), (1, 2)]
QUERY = clip(2, 0.4)
GOOD = answer("happy", {"happy": math.log(0.7), "sad": math.log(0.2), "angry": math.log(0.1)})
CHOICE = answer('{"emotion": "sad"}')


def llm_of(stub: Stub, folder, waits: list[float] | None = None, **settings) -> EndpointLLM:
    waits = [] if waits is None else waits
    chosen = EndpointSettings(stub.url, "some-model", **({"tries": 3, "timeout_seconds": 2} | settings))
    return EndpointLLM(EndpointClient(chosen, sleep=waits.append), folder, EMOTIONS)


def ask(llm: EndpointLLM, query: np.ndarray = QUERY) -> np.ndarray:
    return llm.score(llm.read(CLIPS, ANSWERS), [query]).exp().numpy()[0]


# What is asked, and how answers are read.


def test_log_probabilities_are_the_answer_and_the_clips_are_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSER_ENDPOINT_KEY", KEY)
    with stub_endpoint(GOOD) as stub:
        llm = llm_of(stub, tmp_path)
        np.testing.assert_allclose(ask(llm), [0.1, 0.7, 0.2], atol=1e-6)
    (body,) = stub.requests
    assert stub.keys == [f"Bearer {KEY}"]
    assert (body["model"], body["logprobs"], body["temperature"]) == ("some-model", True, 0)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [body["messages"][place]["content"] for place in (1, 3)] == ["angry", "happy and sad"]
    parts = [part for place in (0, 2, 4) for part in body["messages"][place]["content"]]
    assert [part["type"] for part in parts] == ["text", "input_audio", "input_audio", "input_audio"]
    for part, samples in zip(parts[1:], [*CLIPS, QUERY], strict=True):
        assert part["input_audio"]["format"] == "wav"
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(part["input_audio"]["data"])))
        assert rate == 16_000
        np.testing.assert_allclose(heard, samples, atol=1e-4)


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"ha": math.log(0.6), " SAD": math.log(0.4)}, [1e-6, 0.6, 0.4]),
        ({"happy": math.log(0.5), "Happy": math.log(0.25), "sad": math.log(0.25)}, [1e-6, 0.75, 0.25]),
        ({"happy": math.log(0.5), "surprised": math.log(0.5)}, [1e-6, 0.5, 1e-6]),
        ({"happy": math.log(0.5), "sad": math.log(0.2)}, [0.1, 0.5, 0.2]),
        ({"happy": 5.0, "sad": math.log(0.2)}, None),  # a probability above 1 is none
        ({"happy": math.nan, "sad": math.log(0.2)}, None),
        ({"happy": math.log(0.9), "sad": math.log(0.9), "angry": math.log(0.9)}, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_tokens_count_for_the_labels_that_they_begin(top, expected):
    given = from_log_probabilities(reply("happy", top)["choices"][0], EMOTIONS.names)
    if expected is None:  # what is no log-probability is ignored; the rest counts
        assert given[2] >= given[1] - 1e-9
    else:
        np.testing.assert_allclose(given, np.array(expected) / np.sum(expected), atol=1e-6)
    assert given.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"logprobs": None},
        {"logprobs": {"content": []}},
        {"logprobs": {"content": [3, {"token": 4, "top_logprobs": [None]}]}},
        {"logprobs": {"content": [{"token": "x", "top_logprobs": [{"token": "no", "logprob": -0.1}]}]}},
        {"logprobs": {"content": [{"token": "x", "top_logprobs": [{"token": "sad", "logprob": "high"}]}]}},
        {"logprobs": {"content": [{"token": "x", "top_logprobs": [{"token": " ", "logprob": -0.1}]}]}},
    ],
)
def test_log_probabilities_that_name_no_label_are_none(choice):
    assert from_log_probabilities(choice, EMOTIONS.names) is None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("sad", "sad"),
        ([{"type": "text", "text": "sa"}, {"type": "text", "text": "d"}], "sad"),
        ([{"type": "audio"}, "sad", None], ""),
        (None, ""),
        ({"text": "sad"}, ""),
    ],
)
def test_the_text_of_an_answer_may_come_in_parts(said, text):
    assert EndpointReply({"message": {"content": said}}, 0, 0, 0.0).text == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"emotion": "sad"}', 2),
        ("Sad.", 2),
        ("The speaker sounds happy!", 1),
        ("happy or sad", None),
        ("unhappy", None),
        ("", None),
        ('{"emotion": null}', None),
        ("[" * 100_000, None),
    ],
)
def test_one_label_is_read_out_of_a_choice_or_a_text(text, place):
    given = from_choice(text, EMOTIONS.names)
    if place is None:
        assert given is None
    else:
        np.testing.assert_allclose(given, [0.5 if label == place else 0.25 for label in range(3)])


def test_without_log_probabilities_a_choice_is_asked_for_and_from_then_on_at_once(tmp_path):
    with stub_endpoint(answer("sad"), CHOICE, CHOICE) as stub:
        llm = llm_of(stub, tmp_path)
        np.testing.assert_allclose(ask(llm), [0.25, 0.25, 0.5], atol=1e-6)
        ask(llm, clip(5, 0.3))
    assert ["response_format" in body for body in stub.requests] == [False, True, True]
    schema = stub.requests[1]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["emotion"]["enum"] == list(EMOTIONS.names)
    assert llm.describe()["read from choice"] == 2


def test_where_a_choice_is_refused_the_text_counts_with_its_share_of_unusable_answers(tmp_path):
    refusal = content(400, json.dumps({"error": {"message": "response_format is not supported"}}))
    with stub_endpoint(answer("Sad, I think."), refusal, answer("I cannot say.")) as stub:
        llm = llm_of(stub, tmp_path)
        np.testing.assert_allclose(ask(llm), [0.25, 0.25, 0.5], atol=1e-6)
        np.testing.assert_allclose(ask(llm, clip(5, 0.3)), [1 / 3] * 3, atol=1e-6)
    assert len(stub.requests) == 3
    assert llm.describe() | {"read from text": 2, "unusable answers": 0.5} == llm.describe()


def test_log_probabilities_that_are_refused_are_not_asked_for_again(tmp_path):
    refusal = content(422, "logprobs are not supported with audio")
    with stub_endpoint(refusal, CHOICE, CHOICE) as stub:
        llm = llm_of(stub, tmp_path)
        ask(llm)
        ask(llm, clip(5, 0.3))
    assert ["logprobs" in body for body in stub.requests] == [True, False, False]


def test_tokens_seconds_and_cost_are_counted(tmp_path):
    with stub_endpoint(GOOD) as stub:
        llm = llm_of(stub, tmp_path, price_in=10_000, price_out=100_000)
        ask(llm)
        record = llm.describe()
    assert (record["tokens read"], record["tokens written"], record["questions"]) == (100, 2, 1)
    assert record["cost"] == pytest.approx(1.2)
    assert record["seconds of the endpoint"] >= 0


def test_usage_that_lies_counts_nothing(tmp_path):
    odd = reply("sad", {"sad": -0.1}) | {"usage": {"prompt_tokens": -5, "completion_tokens": "many"}}
    with stub_endpoint(content(200, json.dumps(odd))) as stub:
        llm = llm_of(stub, tmp_path)
        ask(llm)
    assert (llm.describe()["tokens read"], llm.describe()["tokens written"]) == (0, 0)


# What goes wrong.

PASSING: dict[str, Act] = {
    "429": content(429, "slow down"),
    "500": content(500, "oops"),
    "503 of a proxy": content(503, "<html>busy</html>"),
    "no JSON": content(200, "{'choices': ["),
    "JSON without an answer": content(200, json.dumps({"error": "busy"})),
    "an answer of another kind": content(200, json.dumps({"choices": [7]})),
    "an empty list": content(200, json.dumps({"choices": []})),
    "deep JSON": content(200, "[" * 100_000),
    "nothing": content(200, ""),
    "a dropped connection": drop,
    "no word": stall(3),
    "a trickle": trickle(3),
    "no end": content(200, " " * 5_000_000),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again(name, tmp_path):
    waits: list[float] = []
    with stub_endpoint(PASSING[name], GOOD) as stub:
        llm = llm_of(stub, tmp_path, waits, timeout_seconds=0.4)
        np.testing.assert_allclose(ask(llm), [0.1, 0.7, 0.2], atol=1e-6)
    assert len(stub.requests) == 2
    assert len(waits) == 1


@pytest.mark.parametrize("name", ["429", "no JSON", "a dropped connection", "no word"])
def test_what_does_not_pass_ends_in_one_line_after_a_few_tries(name, tmp_path):
    waits: list[float] = []
    with stub_endpoint(PASSING[name]) as stub:
        with pytest.raises(UserError, match=r"gave no answer in 3 tries .* is not asked again"):
            ask(llm_of(stub, tmp_path, waits, timeout_seconds=0.3))
        assert len(stub.requests) == 3
    assert len(waits) == 2
    assert waits[1] > waits[0] / 2  # each wait is twice as long, apart from chance
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("100000", 60.0)])
def test_it_waits_as_long_as_it_is_asked_to_but_not_longer_than_a_minute(asked, waited, tmp_path):
    waits: list[float] = []
    with stub_endpoint(content(429, "slow down", Retry_After=asked), GOOD) as stub:
        ask(llm_of(stub, tmp_path, waits))
    assert waits == [waited]


@pytest.mark.parametrize("asked", ["-3", "soon", "nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wait_that_is_no_number_is_not_kept(asked, tmp_path):
    waits: list[float] = []
    with stub_endpoint(content(503, "", Retry_After=asked), GOOD) as stub:
        ask(llm_of(stub, tmp_path, waits))
    assert 0.5 <= waits[0] <= 1


def test_nobody_there_ends_in_one_line(tmp_path):
    with stub_endpoint(GOOD) as stub:
        llm = llm_of(stub, tmp_path)
    with pytest.raises(UserError, match="gave no answer in 3 tries"):
        ask(llm)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (content(401, "bad key"), "refuses the key .* environment variable PERSER_ENDPOINT_KEY"),
        (content(403, "no"), "refuses the key"),
        (content(404, json.dumps({"error": {"message": "no model"}})), "HTTP 404: no model"),
        (content(413, ""), "enroll fewer clips if the prompt is too long"),
        (content(307, "", Location="http://127.0.0.1:9/"), "sends questions elsewhere"),
    ],
)
def test_what_another_try_does_not_change_ends_at_once(act, message, tmp_path):
    waits: list[float] = []
    with stub_endpoint(act) as stub, pytest.raises(UserError, match=message):
        ask(llm_of(stub, tmp_path, waits))
    assert waits == []


def test_questions_keep_to_a_rate(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("speechlm_icl.audio_llm.endpoint.client.time.monotonic", lambda: now[0])
    waits: list[float] = []
    with stub_endpoint(GOOD) as stub:
        llm = llm_of(stub, tmp_path, waits, requests_per_minute=30)
        for seed in range(3):
            ask(llm, clip(seed, 0.3))
    assert waits == [2.0, 4.0]  # the clock stands still here: the third question waits for two intervals


# The key.


def test_the_key_stands_in_no_error_file_or_record(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PERSER_ENDPOINT_KEY", f" {KEY}\n")
    caplog.set_level(0)
    echo = content(500, f"no such key: Bearer {KEY}")
    with stub_endpoint(GOOD, content(400, f"bad {KEY}"), content(400, f"bad {KEY}"), echo) as stub:
        llm = llm_of(stub, tmp_path)
        ask(llm)
        with pytest.raises(UserError) as refused:
            ask(llm, clip(7, 0.3))
    assert "***" in str(refused.value)
    kept = "".join(file.read_text() for file in tmp_path.rglob("*.json"))
    assert KEY not in f"{refused.value} {refused.getrepr()} {kept} {llm.describe()} {caplog.text}"


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("PERSER_ENDPOINT_KEY", "geheim\u00fc")
    with pytest.raises(UserError, match="has characters that cannot be sent") as refused:
        EndpointClient(EndpointSettings("http://localhost:1/v1", "m"))
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000", "ftp://host/v1", "http://", "", "http://host:port/v1", "http://[::1/v1"),
        *("http://me:secret@host/v1", "https://host/v1?api-key=secret", "https://host/v1#secret"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url):
    with pytest.raises(UserError) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m"}, "it has no url"),
        ({"url": "http://host/v1"}, "model: it is empty"),
        ({"url": "http://host/v1", "model": "m", "api_key": KEY}, "a key must not be in this file"),
        ({"url": "http://host/v1", "model": "m", "timeout": 3}, "unknown setting 'timeout'"),
        ({"url": "http://host/v1", "model": "m", "tries": 0}, "tries: 0, give a number above 0"),
        ({"url": "http://host/v1", "model": "m", "tries": 1.5}, "tries: 1.5, give a whole number"),
        ({"url": "http://host/v1", "model": "m", "timeout_seconds": "1"}, "timeout_seconds: '1'"),
        ({"url": "http://host/v1", "model": "m", "price_in": -1}, "price_in: -1, give 0 or more"),
        ({"url": 3, "model": "m"}, "url: give a text"),
    ],
)
def test_wrong_settings_are_named_with_their_file(settings, message, tmp_path):
    file = tmp_path / "endpoint.json"
    file.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message) as refused:
        read_settings(str(file), None)
    assert str(refused.value).startswith(str(file))
    assert KEY not in str(refused.value)


def test_settings_that_are_no_json_are_refused(tmp_path):
    file = tmp_path / "endpoint.json"
    file.write_text("[")
    with pytest.raises(UserError, match="holds no JSON object"):
        read_settings(str(file), "m")


# Resuming.


def test_a_stopped_run_does_not_ask_again_for_what_it_has(tmp_path):
    with stub_endpoint(GOOD, GOOD, content(401, "stopped"), GOOD) as stub:
        first = llm_of(stub, tmp_path)
        with pytest.raises(UserError):
            first.score(first.read(CLIPS, ANSWERS), [clip(seed, 0.3) for seed in range(4)])
        assert len(stub.requests) == 3
        second = llm_of(stub, tmp_path)
        scores = second.score(second.read(CLIPS, ANSWERS), [clip(seed, 0.3) for seed in range(4)])
        assert len(stub.requests) == 5
    assert scores.shape == (4, 3)
    assert second.describe()["kept from before"] == 2
    assert second.describe()["tokens read"] == 400  # what the whole comparison took


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}",
        "[]",
        '{"probabilities": [1, 0]}',
        '{"probabilities": "abc"}',
        '{"probabilities": [2, -1, 0]}',
    ],
)
def test_a_damaged_answer_is_asked_for_again(damage, tmp_path):
    with stub_endpoint(GOOD) as stub:
        ask(llm_of(stub, tmp_path))
        (file,) = tmp_path.rglob("*.json")
        file.write_text(damage)
        np.testing.assert_allclose(ask(llm_of(stub, tmp_path)), [0.1, 0.7, 0.2], atol=1e-6)
        assert len(stub.requests) == 2


# As a method, and on single clips.


def test_it_is_a_method_of_the_comparison(toy_corpus, toy_episodes, tmp_path):
    context = RouteContext(
        toy_corpus.emotions, toy_corpus.recordings, tmp_path / "models", tmp_path / "cache"
    )
    episode = toy_episodes.episodes[0]
    with stub_endpoint(GOOD) as stub:
        (name,) = at_endpoint(["audio-llm:some/model-2"], stub.url)
        check_models([name], context)
        assert stub.requests == []
        method = build_method(name, context)
        given = method.personalize(episode.support).predict_proba(episode.query_utterances[:2])
        with_orders = build_method(f"{name}+orders=2+calibrated", context)
        with_orders.personalize(episode.support).predict_proba(episode.query_utterances[:1])
    assert given.shape == (2, len(toy_corpus.emotions))
    assert method.describe() | {"model": "some/model", "pairs": 2, "questions": 2} == method.describe()
    assert stub.requests[0]["model"] == "some/model"
    assert (
        len(stub.requests) == 2 + 3
    )  # the first order of the query is known; two content-free clips are not


@pytest.mark.parametrize(
    ("methods", "endpoint", "message"),
    [
        (["random"], "http://host/v1", "none of the methods asks one"),
        (None, "http://host/v1", "none of the methods asks one"),
        (["audio-llm:m"], "a+b.json", "it has a plus in it"),
    ],
)
def test_an_endpoint_that_no_method_asks_is_refused(methods, endpoint, message):
    with pytest.raises(UserError, match=message):
        at_endpoint(methods, endpoint)


def test_a_folder_that_names_an_endpoint_is_a_model(toy_corpus, toy_episodes, tmp_path):
    names = toy_episodes.episodes[0].support.utterances[:3]
    paths = [toy_corpus.recordings.path(name) for name in names]
    folder = tmp_path / "models" / "audio-llm-far"
    folder.mkdir(parents=True)
    with stub_endpoint(GOOD) as stub:
        settings = {"url": stub.url, "model": "some-model"}
        (folder / "endpoint.json").write_text(json.dumps(settings))
        personal = Recognizer.from_pretrained(folder).enroll([(paths[0], "happy"), (paths[1], "sad")])
        personal.save(tmp_path / "alice.profile")
        again = PersonalRecognizer.load(tmp_path / "alice.profile")
        assert again.predict([paths[2]])[0].labels == ("happy", "sad")  # above 1/7
        asked = len(stub.requests)
        again.predict([paths[2]])
        assert len(stub.requests) == asked
        (folder / "endpoint.json").write_text(json.dumps(settings | {"model": "another"}))
        with pytest.raises(UserError, match="is of another model"):
            PersonalRecognizer.load(tmp_path / "alice.profile")
        context = RouteContext(toy_corpus.emotions, toy_corpus.recordings, folder.parent, tmp_path / "cache")
        assert build_method("audio-llm:far-2", replace(context)).llm.name == "another"
