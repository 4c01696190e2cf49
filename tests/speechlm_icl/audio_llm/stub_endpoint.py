"""A server on loopback that answers like an OpenAI-compatible endpoint, or as badly as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["Handler", dict[str, Any]], None]
"""What the server does with one request and its body."""


class Handler(BaseHTTPRequestHandler):
    """Passes each request to the next act of its server; the last act is repeated."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stub = self.server.stub
        stub.requests.append(body)
        stub.keys.append(self.headers.get("Authorization"))
        act = stub.acts[min(len(stub.requests), len(stub.acts)) - 1]
        act(self, body)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


class Stub:
    """What a stub endpoint does and what it was asked."""

    def __init__(self, acts: list[Act]) -> None:
        self.acts = acts
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""


@contextmanager
def stub_endpoint(*acts: Act) -> Iterator[Stub]:
    """Run a server that does one act for each request."""
    stub = Stub(list(acts))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.stub = stub
    stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


def reply(text: str, top: dict[str, float] | None = None, **logprobs: Any) -> dict[str, Any]:
    """Return the content of a reply; `top`: log-probabilities of the first token."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
    if top is not None:
        entries = [{"token": token, "logprob": value} for token, value in top.items()]
        choice["logprobs"] = {
            "content": [{"token": next(iter(top), ""), "logprob": -1.0, "top_logprobs": entries}]
        }
    choice |= {"logprobs": logprobs} if logprobs else {}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}


def answer(text: str, top: dict[str, float] | None = None) -> Act:
    """Answer well."""
    return lambda handler, body: handler.send(200, json.dumps(reply(text, top)).encode())


def content(status: int, text: str, **headers: str) -> Act:
    """Send a status and a text."""
    return lambda handler, body: handler.send(status, text.encode(), **headers)


def stall(seconds: float) -> Act:
    """Say nothing for a while, then close."""

    def act(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return act


def trickle(seconds: float) -> Act:
    """Send a byte now and then, so that no single wait is long."""

    def act(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
        handler.close_connection = True

    return act


def drop(handler: Handler, body: dict[str, Any]) -> None:
    """Close the connection without a word."""
    handler.close_connection = True
    handler.connection.close()
