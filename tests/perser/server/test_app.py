"""The server's answers: those of `Recognizer`, and its refusals."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile

TOKEN = "0123456789abcdef"


def as_dict(prediction) -> dict:
    """Return the part of a prediction that the server repeats."""
    unadapted = prediction.unadapted
    return {
        "probabilities": prediction.probabilities,
        "labels": list(prediction.labels),
        "confidence": prediction.confidence,
        "unadapted": None
        if unadapted is None
        else {
            "probabilities": unadapted.probabilities,
            "labels": list(unadapted.labels),
            "confidence": unadapted.confidence,
        },
    }


@pytest.fixture
def expected(recognizer, write_clip):
    """What the recognizer itself answers: without and with the examples."""
    pairs = [(write_clip("0.wav", 0), "sad"), (write_clip("1.wav", 1), "happy;sad")]
    asked = write_clip("clip.wav", 2)
    (plain,), (own,) = recognizer.predict([asked]), recognizer.enroll(pairs).predict([asked])
    return as_dict(plain), as_dict(own)


def test_the_answers_are_those_of_the_recognizer(client, clip, labeled, expected):
    plain, own = expected
    answer = client.post("/predict", files=[clip]).json()
    assert answer == plain | {"clip": "clip.wav", "enrolled": 0}
    answer = client.post("/predict", **labeled | {"files": [clip, *labeled["files"]]}).json()
    assert answer == own | {"clip": "clip.wav", "enrolled": 2}
    assert client.put("/profiles/alice", **labeled).status_code == 200
    answer = client.post("/predict", files=[clip], data={"profile": "alice"}).json()
    assert answer == own | {"clip": "clip.wav", "enrolled": 2}


def test_a_profile_is_kept_shown_replaced_and_deleted(client, clip, labeled, recognizer, profiles):
    enrolled = [
        {"name": "example 1", "emotions": ["sad"]},
        {"name": "example 2", "emotions": ["happy", "sad"]},
    ]
    assert client.put("/profiles/alice", **labeled).json() == {"name": "alice", "enrolled": enrolled}
    assert client.get("/profiles").json() == ["alice"]
    assert client.get("/profiles/alice").json()["enrolled"] == enrolled
    assert recognizer.personal(profiles / "alice.profile").enrolled[1].emotions == ("happy", "sad")
    before = client.post("/predict", files=[clip], data={"profile": "alice"}).json()
    client.put("/profiles/alice", files=labeled["files"][:1], data={"emotions": "angry"})
    after = client.post("/predict", files=[clip], data={"profile": "alice"}).json()
    assert (before["enrolled"], after["enrolled"]) == (2, 1)
    assert before["probabilities"] != after["probabilities"]
    assert client.delete("/profiles/alice").status_code == 204
    assert client.get("/profiles").json() == []
    assert [path.name for path in profiles.iterdir()] == []
    assert client.post("/predict", files=[clip], data={"profile": "alice"}).status_code == 404


def send(client, clip, labeled, request) -> tuple[int, str]:
    """Return the status of a refused request and its error, the only line of the answer."""
    method, path, files, data = request
    every = {"clip": clip, "one": labeled["files"][0], "two": labeled["files"][1]}
    sent = [every[name] if isinstance(name, str) else name for name in files]
    answer = client.request(method, path, files=sent, data=data)
    assert answer.headers["content-type"] == "application/json"
    assert "\n" not in answer.text
    (error,) = json.loads(answer.text).values()
    return answer.status_code, error


NOTE = ("clip", ("../../etc/note.wav", b"no sound"))
LARGE = ("clip", ("large.wav", b"RIFF" + bytes(1_100_000)))
REFUSED = {
    "no clip": (("POST", "/predict", [], {"profile": "alice"}), 422, "clip: Field required"),
    "no audio": (("POST", "/predict", [NOTE], {}), 422, "note.wav: unreadable"),
    "large clip": (("POST", "/predict", [LARGE], {}), 413, "large.wav: larger than 1 MB"),
    "both": (
        ("POST", "/predict", ["clip", "one"], {"profile": "alice", "emotions": "sad"}),
        422,
        "give a profile or examples, not both",
    ),
    "too few emotions": (
        ("POST", "/predict", ["clip", "one", "two"], {"emotions": "sad"}),
        422,
        "2 examples, 1 emotions: give as many of both",
    ),
    "too many examples": (
        ("PUT", "/profiles/bob", ["one"] * 4, {"emotions": ["sad"] * 4}),
        422,
        "4 examples: give at most 3",
    ),
    "unknown emotion": (
        ("PUT", "/profiles/bob", ["one"], {"emotions": "glad"}),
        422,
        "unknown emotion 'glad'",
    ),
    "no emotion": (("PUT", "/profiles/bob", ["one"], {"emotions": ""}), 422, "emotion"),
    "nothing to enroll": (("PUT", "/profiles/bob", [], {"emotions": "sad"}), 422, "0 examples, 1 emotions"),
    "unknown profile": (("POST", "/predict", ["clip"], {"profile": "bob"}), 404, "no profile 'bob'"),
    "path as name": (
        ("POST", "/predict", ["clip"], {"profile": "../alice"}),
        422,
        "'../alice' is no name for a profile",
    ),
    "bad name": (
        ("PUT", "/profiles/Alice%20B", ["one"], {"emotions": "sad"}),
        422,
        "'Alice B' is no name for a profile",
    ),
    "device of Windows": (("PUT", "/profiles/con", ["one"], {"emotions": "sad"}), 422, "'con' is no name"),
    "unknown address": (("GET", "/etc/passwd", [], {}), 404, "Not Found"),
    "wrong method": (("GET", "/predict", [], {}), 405, "Method Not Allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(case, client, clip, labeled, tmp_path, profiles):
    request, status, message = REFUSED[case]
    found, error = send(client, clip, labeled, request)
    assert (found, message in error) == (status, True), error
    assert str(tmp_path) not in error
    assert "/etc/note" not in error
    assert list(profiles.iterdir()) == []


def test_a_clip_that_is_too_long_is_refused(client, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    answer = client.post("/predict", files=[("clip", ("long.wav", (tmp_path / "long.wav").read_bytes()))])
    assert answer.json() == {"error": "long.wav: longer than 0.5 s"}


def test_a_profile_of_another_model_is_refused_without_the_folder(
    client, clip, labeled, fake_model, profiles
):
    client.put("/profiles/alice", **labeled)
    (profiles / "damaged.profile").write_text("nothing")
    (profiles / "other.profile").write_bytes((profiles / "alice.profile").read_bytes())
    fake_model.content = "4567"
    for name, reason in (("other", "is of another model"), ("damaged", "is not a profile")):
        answer = client.post("/predict", files=[clip], data={"profile": name})
        assert answer.status_code == 409
        assert reason in answer.json()["error"]
        assert str(profiles) not in answer.text


def test_a_server_without_profiles_says_so(start, clip):
    client = start(keeps=False)
    assert client.get("/model").json()["keeps_profiles"] is False
    for answer in (
        client.get("/profiles"),
        client.post("/predict", files=[clip], data={"profile": "alice"}),
    ):
        assert answer.status_code == 404
        assert "--profiles FOLDER" in answer.json()["error"]


@pytest.mark.parametrize("shown", [None, "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}"])
def test_a_request_without_the_token_is_refused(shown, start, clip):
    client = start(token=TOKEN)
    headers = {} if shown is None else {"Authorization": shown}
    requests = (("POST", "/predict"), ("GET", "/profiles"), ("GET", "/model"), ("GET", "/metrics"))
    for method, path in requests:
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert "send the server's token" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_the_server(start, clip):
    client = start(token=TOKEN)
    assert client.get("/health").json() == {"status": "ok"}
    answer = client.post("/predict", files=[clip], headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "elsewhere.example"}, 400),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_are_refused(headers, status, client):
    answer = client.get("/model", headers=headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_the_page_describes_every_address_and_asks_no_other_server(client):
    described = client.get("/openapi.json").json()
    assert {"/predict", "/profiles", "/profiles/{name}", "/health", "/metrics", "/model"} == {
        *described["paths"]
    }
    page = client.get("/docs").text
    scripts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert scripts
    for script in scripts:
        assert script.startswith("/")
        assert client.get(script).status_code == 200


def test_the_metrics_count_requests_without_names(client, clip, labeled):
    client.put("/profiles/alice", **labeled)
    client.post("/predict", files=[clip])
    client.get("/made-up")
    lines = client.get("/metrics").text.splitlines()
    assert 'perser_requests_total{method="POST",path="/predict",status="200"} 1.0' in lines
    assert 'perser_requests_total{method="PUT",path="/profiles/{name}",status="200"} 1.0' in lines
    assert 'perser_requests_total{method="other",path="other",status="404"} 1.0' in lines
    assert "perser_requests_busy 0.0" in lines
    assert not any("alice" in line or "made-up" in line for line in lines)


def test_a_fault_of_the_server_is_one_line_that_says_no_more(client, clip, fake_model, monkeypatch):
    def fail(clips):
        raise RuntimeError("in /home/somebody")

    monkeypatch.setattr(fake_model, "encode_clips", fail)
    answer = client.post("/predict", files=[clip])
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed: its own output says why"}
