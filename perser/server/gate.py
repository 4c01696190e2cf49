"""What every request passes before it is answered: the token, the queue, and the limits of size and time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from perser.web.limits import ServerLimits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OPEN = ("/health", "/docs", "/openapi.json", "/static-offline-docs")
"""Paths that need no token: they say what anybody can read in this program's source."""

COMPUTING = ("POST", "PUT")
"""Methods of the requests that have a body and are computed."""


class Measurements:
    """What `/metrics` reports, in the form that Prometheus reads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        labels = ("method", "path")
        self.answered = Counter(
            "perser_requests", "Requests, by answer.", (*labels, "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "perser_request_seconds",
            "From a request to the end of its answer.",
            labels,
            registry=self.registry,
        )
        self.busy = Gauge(
            "perser_requests_busy", "Requests that are read, waiting or computed.", registry=self.registry
        )


class Gate:
    """ASGI middleware that refuses requests before their bodies are read, and measures all of them.

    Args:
        app: Answers what it lets through.
        token: What a request must show as `Authorization: Bearer TOKEN`; None: nothing.
        limits: How much is accepted.
        measurements: Where requests are counted.
    """

    def __init__(self, app: Any, token: str | None, limits: ServerLimits, measurements: Measurements) -> None:
        self._app = app
        self._token = token
        self._limits = limits
        self._measurements = measurements
        self._busy = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # never what somebody made up
            labels = (scope["method"] if route != "other" else "other", route)
            self._measurements.answered.labels(*labels, str(status)).inc()
            self._measurements.seconds.labels(*labels).observe(time.perf_counter() - started)

    async def _pass(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if refusal := self._refusal(scope["method"], scope["path"], headers):
            await refusal(scope, receive, send)
        elif scope["method"] not in COMPUTING:
            await self._app(scope, receive, send)
        else:
            self._busy += 1
            self._measurements.busy.set(self._busy)
            try:
                await self._app(scope, self._limited(receive), send)
            finally:
                self._busy -= 1
                self._measurements.busy.set(self._busy)

    def _refusal(self, method: str, path: str, headers: dict[bytes, bytes]) -> JSONResponse | None:
        """Return the answer to a request that is refused by its headers; None where it is let through."""
        if not path.startswith(OPEN) and not self._shows_token(headers):
            return error_answer(
                401,
                "send the server's token: 'Authorization: Bearer TOKEN'",
                {"WWW-Authenticate": "Bearer"},
            )
        if method not in COMPUTING:
            return None
        if self._busy >= self._limits.at_once + self._limits.waiting:
            return error_answer(503, "too many requests wait: try again later", {"Retry-After": "1"})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.request_bytes:
            return error_answer(413, self._too_large())
        return None

    def _shows_token(self, headers: dict[bytes, bytes]) -> bool:
        if self._token is None:
            return True
        expected = f"Bearer {self._token}".encode()
        return secrets.compare_digest(headers.get(b"authorization", b""), expected)

    def _limited(self, receive: Receive) -> Receive:
        """Return a function that receives a request's body and refuses one that is too large or too slow."""
        deadline = asyncio.get_running_loop().time() + self._limits.request_seconds
        received, complete = 0, False

        async def receive_within_limits() -> Message:
            nonlocal received, complete
            if complete:  # now it waits for the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                seconds = self._limits.request_seconds
                raise HTTPException(408, f"the request took longer than {seconds:g} s to arrive") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._limits.request_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return receive_within_limits

    def _too_large(self) -> str:
        return f"the request is larger than {self._limits.request_megabytes} MB"


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer that says what is wrong, in one line of JSON."""
    return JSONResponse({"error": message}, status, headers)
