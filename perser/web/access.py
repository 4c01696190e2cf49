"""Who may send requests to a page or server that runs on this machine for its own user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from perser.errors import UserError

HOST = "127.0.0.1"
"""The address that only this machine reaches."""

LAST_PORT = 65_535

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'"
"""Tells the browser to let a page send requests to this server only."""


def check_port(port: int) -> None:
    """Raise UserError for a number that is no port, nor 0 for any that is free."""
    if not 0 <= port <= LAST_PORT:
        raise UserError(f"port: {port}, give one up to {LAST_PORT}, or 0 for any that is free")


class OwnSiteOnly:
    """ASGI middleware that refuses requests from pages of other sites and for other names of this machine.

    A browser names the page's site as `Origin`. Another name of this machine is that of a site which is made
    to resolve to it (DNS rebinding).

    It also adds the policy of what the page may request to every response.

    Args:
        app: Answers the other requests.
        names: The names and addresses of this machine that are its own.
    """

    def __init__(self, app: Any, names: Sequence[str] = (HOST, "localhost")) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = message | {"headers": [*message.get("headers", ()), policy]}
            await send(message)

        refusal = self._refusal(dict(scope.get("headers", ()))) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send_with_policy)
            return
        status, reason = refusal
        body = json.dumps({"error": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send_with_policy({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Return the status and the reason for a request that is refused; None for any other."""
        host = headers.get(b"host", b"")
        if host.partition(b":")[0].decode("latin-1") not in self.names:
            return 400, f"this machine answers as {' and '.join(self.names)} only"
        if headers.get(b"origin") not in (None, b"http://" + host):
            return 403, "pages of other sites may not ask"
        return None
