"""The gate before the server: what is refused before a request's body is read."""

from __future__ import annotations

import asyncio
import json

import pytest

from perser.server.gate import Gate, Measurements
from perser.web.limits import ServerLimits

LIMITS = ServerLimits(request_megabytes=1, request_seconds=0.2, at_once=1, waiting=1)
PIECE = b"x" * 2**18


async def read_all(scope, receive, send) -> None:
    """An application that reads the whole body and answers with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message.get("more_body", False)
    await answer(send, {"size": size})


async def answer(send, content) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


class Request:
    """A request of some pieces, and what came back.

    Args:
        headers: The request's headers.
        pieces: How many pieces of its body arrive.
        pause: Seconds before each.
        method: The request's method.
    """

    def __init__(self, headers=(), pieces=1, pause=0.0, method="POST") -> None:
        self.scope = {"type": "http", "method": method, "path": "/predict", "headers": list(headers)}
        self.pieces, self.pause = pieces, pause
        self.received = 0
        self.sent = []

    async def receive(self):
        await asyncio.sleep(self.pause)
        self.received += 1
        return {"type": "http.request", "body": PIECE, "more_body": self.received < self.pieces}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]


def ask(gate, *requests) -> None:
    async def all_together():
        results = await asyncio.gather(
            *(gate(request.scope, request.receive, request.send) for request in requests),
            return_exceptions=True,
        )
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, Exception):  # FastAPI makes an answer of it
                request.sent.append({"status": result.status_code, "detail": result.detail})

    asyncio.run(all_together())


@pytest.fixture
def gate() -> Gate:
    return Gate(read_all, None, LIMITS, Measurements())


def test_a_request_within_the_limits_passes(gate):
    request = Request(pieces=4)
    ask(gate, request)
    assert request.status == 200
    assert json.loads(request.sent[1]["body"]) == {"size": 2**20}


def test_a_request_that_says_it_is_too_large_is_not_read(gate):
    request = Request(headers=[(b"content-length", b"1048577")])
    ask(gate, request)
    assert (request.status, request.received) == (413, 0)


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"9")], [(b"content-length", b"many")]])
def test_a_request_that_turns_out_too_large_is_not_read_to_its_end(headers, gate):
    request = Request(headers=headers, pieces=100)
    ask(gate, request)
    assert (request.status, request.received) == (413, 5)


def test_a_request_that_arrives_too_slowly_is_refused(gate):
    request = Request(pieces=4, pause=0.15)
    ask(gate, request)
    assert (request.status, request.received) == (408, 1)
    assert "0.2 s" in request.sent[0]["detail"]


def test_more_requests_than_may_wait_are_refused_unread_and_later_ones_are_not(gate):
    requests = [Request(pause=0.05) for _ in range(4)]
    ask(gate, *requests)
    assert sorted(request.status for request in requests) == [200, 200, 503, 503]
    assert [request.received for request in requests if request.status == 503] == [0, 0]
    later = Request()
    ask(gate, later)
    assert later.status == 200


def test_questions_without_a_body_are_answered_while_others_wait(gate):
    health = Request(method="GET")
    ask(gate, *(Request(pause=0.05) for _ in range(3)), health)
    assert health.status == 200


def test_a_request_without_the_token_is_not_read():
    request = Request()
    ask(Gate(read_all, "0123456789abcdef", LIMITS, Measurements()), request)
    assert (request.status, request.received) == (401, 0)
