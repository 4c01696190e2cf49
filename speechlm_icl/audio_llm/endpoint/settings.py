"""How an endpoint is asked: its address, its limits, its prices. The key is never among them.

The settings are an address (`http://localhost:8000/v1`), or a JSON file with them. This module imports
neither torch nor httpx.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perser.errors import UserError
from perser.io.json_files import read_json

FILE = "endpoint.json"
"""In a folder that stands for a model: the settings of the endpoint that has it."""

OPTION = "endpoint="
"""What begins the option of a method's name that says where its model is."""

KEY_VARIABLE = "PERSER_ENDPOINT_KEY"


@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is asked.

    Args:
        url: Its address, up to `/v1`.
        model: Name of the model there.
        key_variable: The environment variable that holds the key; none is sent where it is not set.
        timeout_seconds: How long one answer may take.
        tries: How often a question is asked before the run ends.
        requests_per_minute: At most so many; None for no limit.
        price_in: Price of a million tokens that are read, in any currency.
        price_out: Price of a million tokens that are written.
    """

    url: str
    model: str
    key_variable: str = KEY_VARIABLE
    timeout_seconds: float = 120.0
    tries: int = 6
    requests_per_minute: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.model:
            raise UserError("model: it is empty: give the name that the endpoint knows the model by")
        numbers = {"timeout_seconds": self.timeout_seconds, "tries": self.tries}
        if self.requests_per_minute is not None:
            numbers["requests_per_minute"] = self.requests_per_minute
        for name, value in numbers.items():
            if not _is_number(value) or value <= 0:
                raise UserError(f"{name}: {value!r}, give a number above 0")
        if not isinstance(self.tries, int):
            raise UserError(f"tries: {self.tries!r}, give a whole number")
        for name in ("price_in", "price_out"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise UserError(f"{name}: {getattr(self, name)!r}, give 0 or more")

    @property
    def address(self) -> str:
        """Where questions are sent."""
        return f"{self.url.rstrip('/')}/chat/completions"

    def key(self) -> str | None:
        """Return the key. Raises UserError for one that cannot be sent, without showing it."""
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            return None
        if not key.isascii() or not key.isprintable():
            raise UserError(
                f"the key in the environment variable {self.key_variable} has characters that cannot be "
                "sent: copy it again"
            )
        return key


def check_url(url: object) -> None:
    """Raise UserError for an address that no question can be sent to, or that has a password in it."""
    wanted = "give one such as http://localhost:8000/v1"
    try:
        parts = urlsplit(str(url))
        _ = parts.port
    except ValueError:
        raise UserError(f"endpoint: it is no address: {wanted}") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            "endpoint: its address must not hold a name, password or key, because it is written into "
            f"results: put the key into the environment variable {KEY_VARIABLE}"
        )
    if not isinstance(url, str) or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"endpoint: '{url}' is no address: {wanted}")


def read_settings(endpoint: str, model: str | None) -> EndpointSettings:
    """Return the settings that an address or a JSON file gives; `model` overrides the file's.

    Raises UserError that names the file, for settings that are unknown or wrong.
    """
    file = Path(endpoint).expanduser()
    if "://" in endpoint or not file.is_file():
        check_url(endpoint)
        return EndpointSettings(endpoint, model or "")
    content = read_json(file)
    if content is None:
        raise UserError(f"{file}: it holds no JSON object with the settings of an endpoint")
    try:
        return _from_json(content, model)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def split_endpoint(options: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the endpoint among the options of a method's name (`+endpoint=URL`), and the other options.

    Raises UserError for two endpoints.
    """
    named = [option.removeprefix(OPTION) for option in options if option.startswith(OPTION)]
    if len(named) > 1:
        raise UserError(f"give +{OPTION} once")
    return next(iter(named), None), [option for option in options if not option.startswith(OPTION)]


def _from_json(content: Mapping[str, Any], model: str | None) -> EndpointSettings:
    known = [each.name for each in fields(EndpointSettings)]
    if "key" in content or "api_key" in content:
        raise UserError(
            f"a key must not be in this file: put it into the environment variable {KEY_VARIABLE}, and "
            "delete it here"
        )
    for name in content:
        if name not in known:
            raise UserError(f"unknown setting '{name}': one of {', '.join(known)}")
    for name in ("url", "key_variable", "model"):
        if name in content and not isinstance(content[name], str):
            raise UserError(f"{name}: give a text")
    if "url" not in content:
        raise UserError("it has no url: give the endpoint's address")
    return EndpointSettings(**{**content, "model": model or content.get("model", "")})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
