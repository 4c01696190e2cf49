"""A server with a model without a neural network, asked without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from perser.inference.recognizer import Recognizer
from perser.server.app import make_app
from perser.server.profiles import KeptProfiles
from perser.server.service import Service
from perser.web.access import HOST
from perser.web.limits import ServerLimits

LIMITS = ServerLimits(seconds=0.5, megabytes=1, examples=3, request_megabytes=2, profiles=2)


@pytest.fixture
def recognizer(fake_model, tmp_path) -> Recognizer:
    return Recognizer(fake_model, str(tmp_path / "model"))


@pytest.fixture
def profiles(tmp_path) -> Path:
    return tmp_path / "profiles"


@pytest.fixture
def start(recognizer, profiles) -> Iterator[Callable[..., TestClient]]:
    """Return a function that starts a server, with profiles unless told otherwise, and returns its client."""
    started = []

    def start(token: str | None = None, limits: ServerLimits = LIMITS, keeps: bool = True) -> TestClient:
        kept = KeptProfiles(profiles, recognizer, limits.profiles) if keeps else None
        app = make_app(Service(recognizer, limits, kept), "mine", token, HOST)
        client = TestClient(app, base_url=f"http://{HOST}:8000", raise_server_exceptions=False)
        started.append(client.__enter__())
        return client

    yield start
    for client in started:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start) -> TestClient:
    return start()


@pytest.fixture
def labeled(write_clip) -> dict:
    """Two examples and their emotions, as a request sends them."""
    files = [("examples", (f"{n}.wav", write_clip(f"{n}.wav", n).read_bytes())) for n in (0, 1)]
    return {"files": files, "data": {"emotions": ["sad", "happy;sad"]}}


@pytest.fixture
def clip(write_clip) -> tuple:
    """A clip to ask about, as a request sends it."""
    return "clip", ("clip.wav", write_clip("clip.wav", 2).read_bytes())
