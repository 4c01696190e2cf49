"""Ask an endpoint: with a time limit, a rate limit, and another try where one may help.

The key is sent in a header, and stands nowhere else: it is taken out of what the endpoint says before that is
shown.
"""

from __future__ import annotations

import json
import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from perser.errors import ServiceUnavailable, first_line
from speechlm_icl.audio_llm.endpoint.settings import EndpointSettings

MOST_BYTES = 4_000_000
"""Of an answer. A longer one is none."""

LONGEST_WAIT = 60.0
"""Seconds between two tries, whatever the endpoint asks for."""

REFUSED = (400, 404, 405, 413, 415, 422)
"""Statuses that another try does not change."""


class Refused(Exception):
    """The endpoint does not answer this question in this form. The message is what it says."""


class Unanswered(Exception):
    """One try failed, and another may not. `wait`: seconds that the endpoint asks to wait."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class EndpointReply:
    """What an endpoint answers.

    Args:
        choice: The first of its answers.
        tokens_in: Tokens that it read, as it says.
        tokens_out: Tokens that it wrote, as it says.
        seconds: How long it took, without tries that failed.
    """

    choice: Mapping[str, Any]
    tokens_in: int
    tokens_out: int
    seconds: float

    @property
    def text(self) -> str:
        """The text of the answer; empty where there is none."""
        message = self.choice.get("message")
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
        return "".join(text for text in texts if isinstance(text, str))


class EndpointClient:
    """Asks one endpoint.

    Args:
        settings: How it is asked.
        sleep: Waits so many seconds; tests replace it.
    """

    def __init__(self, settings: EndpointSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings = settings
        self._sleep = sleep
        self._key = settings.key()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limit = httpx.Timeout(settings.timeout_seconds, connect=min(10.0, settings.timeout_seconds))
        is_here = urlsplit(settings.url).hostname in ("localhost", "127.0.0.1", "::1")  # never by a proxy
        self._http = httpx.Client(
            headers=headers, timeout=limit, follow_redirects=False, trust_env=not is_here
        )
        weakref.finalize(self, self._http.close)
        self._next_request = 0.0

    def ask(self, question: Mapping[str, Any]) -> EndpointReply:
        """Return the reply to a question, the body of a request.

        Raises Refused where the endpoint does not take the question, and ServiceUnavailable where it cannot
        be reached, refuses the key, or gives no answer in as many tries as the settings allow.
        """
        tries = self.settings.tries
        for attempt in range(1, tries + 1):
            self._keep_rate()
            try:
                return self._try(question)
            except Unanswered as error:
                if attempt == tries:
                    raise ServiceUnavailable(
                        f"the endpoint {self.settings.url} gave no answer in {tries} tries ({error}): see "
                        "that it runs, then run this again; what it has answered is not asked again"
                    ) from None
                self._sleep(_waiting_time(attempt, error.wait))
        raise AssertionError("the last try returns or raises")

    def _keep_rate(self) -> None:
        per_minute = self.settings.requests_per_minute
        if per_minute is None:
            return
        now = time.monotonic()
        if now < self._next_request:
            self._sleep(self._next_request - now)
        self._next_request = max(now, self._next_request) + 60 / per_minute

    def _try(self, question: Mapping[str, Any]) -> EndpointReply:
        started = time.monotonic()
        try:
            status, headers, body = self._post(question, started + self.settings.timeout_seconds)
        except httpx.TimeoutException:
            raise Unanswered(f"none within {self.settings.timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unanswered(self._shown(first_line(error))) from None
        if status != 200:
            self._refuse(status, headers, body)
        try:
            content = json.loads(body)
            choice = content["choices"][0]
            if not isinstance(choice, Mapping):
                raise TypeError("a choice is no object")
        except (ValueError, TypeError, LookupError, RecursionError):
            raise Unanswered("what it sent is no answer in JSON") from None
        usage = content.get("usage")
        read, written = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        return EndpointReply(choice, read, written, seconds=time.monotonic() - started)

    def _post(self, question: Mapping[str, Any], deadline: float) -> tuple[int, httpx.Headers, bytes]:
        """Return the status, headers and body of the response; a body that trickles in must end in time."""
        parts, size = [], 0
        with self._http.stream("POST", self.settings.address, json=question) as response:
            for part in response.iter_bytes():
                size += len(part)
                if size > MOST_BYTES:
                    raise Unanswered("its answer does not end")
                if time.monotonic() > deadline:
                    raise Unanswered(f"none within {self.settings.timeout_seconds:g} s")
                parts.append(part)
            return response.status_code, response.headers, b"".join(parts)

    def _refuse(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        """Raise what a status other than 200 means."""
        said = self._shown(_message_in(body))
        if status in (401, 403):
            raise ServiceUnavailable(
                f"the endpoint {self.settings.url} refuses the key (HTTP {status}): put a valid one into the "
                f"environment variable {self.settings.key_variable}"
            )
        if status in REFUSED:
            raise Refused(f"HTTP {status}{said and f': {said}'}")
        if 300 <= status < 400:
            raise ServiceUnavailable(
                f"the endpoint {self.settings.url} sends questions elsewhere (HTTP {status}), and the key "
                "must not go there: give its final address"
            )
        raise Unanswered(f"HTTP {status}{said and f': {said}'}", _retry_after(headers))

    def _shown(self, text: str) -> str:
        """Return the beginning of a text of the endpoint, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        return text[:200]


def _waiting_time(attempt: int, asked: float | None) -> float:
    """Return the seconds before the next try: what the endpoint asks for, or twice as long each time."""
    if asked is not None:
        return min(asked, LONGEST_WAIT)
    return min(2.0 ** (attempt - 1), LONGEST_WAIT) * random.uniform(0.5, 1.0)


def _retry_after(headers: httpx.Headers) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _message_in(body: bytes) -> str:
    """Return the message of an error, or the beginning of the body."""
    text = body.decode("utf-8", errors="replace").strip()
    try:
        content = json.loads(text)
        error = content.get("error", content)
        text = str(error["message"] if isinstance(error, Mapping) else error)
    except (ValueError, LookupError, AttributeError, RecursionError):
        pass
    return " ".join(text.split())


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
