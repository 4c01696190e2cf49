"""Run the server on an address and a port until it is stopped."""

from __future__ import annotations

import ipaddress
import signal
import socket
from pathlib import Path

import uvicorn

from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.server.app import make_app
from perser.server.profiles import KeptProfiles
from perser.server.service import Service
from perser.web.access import HOST, check_port
from perser.web.limits import ServerLimits

SHORTEST_TOKEN = 16

LAST_ANSWERS_SECONDS = 30
"""How long requests that have begun may take after the server was told to stop."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than clients keep theirs, so that none is closed as a client
uses it again."""

CONNECTIONS_WAITING = 1024
"""How many connections the system holds until they are accepted."""


def check_access(host: str, token: str | None) -> None:
    """Raise UserError for a token that cannot be used, or none where others can reach the address."""
    if token is not None:
        if len(token) < SHORTEST_TOKEN:
            raise UserError(f"token: {len(token)} characters, give at least {SHORTEST_TOKEN}")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise UserError("token: give letters, digits and signs of ASCII, without spaces")
    elif not is_local(host):
        raise UserError(
            f"token: none given, but others may reach {host}: set the variable PERSER_TOKEN, "
            f"or give --host {HOST}"
        )


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address: 127.x.x.x, or `localhost`, which stands for it."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve_until_stopped(
    recognizer: Recognizer,
    title: str,
    limits: ServerLimits,
    host: str = HOST,
    port: int = 0,
    profiles: Path | None = None,
    token: str | None = None,
) -> None:
    """Answer requests until a signal stops it, and then those that have begun.

    Args:
        recognizer: The model that answers.
        title: Its name.
        limits: How much is accepted.
        host: The address.
        port: The port; any free one for 0.
        profiles: Folder of the profiles; None: none are kept.
        token: What every request must show; None: nothing.

    Raises UserError for an address, a port, a token or a folder that cannot be used.
    """
    check_port(port)
    check_access(host, token)
    kept = None if profiles is None else KeptProfiles(profiles, recognizer, limits.profiles)
    host = HOST if host == "localhost" else host
    with _listen(host, port) as listening:
        app = make_app(Service(recognizer, limits, kept), title, token, host if is_local(host) else None)
        # uvicorn sends the signal that stopped it to the process once more: here that is no failure.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        print(f"{title}: {address} answers, {address}/docs says what; Ctrl+C stops it", flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # the names of profiles are in the addresses
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS_WAITING)
    except OSError as error:
        raise UserError(
            f"cannot use port {port} of {host} ({error.strerror}): give another host or port, "
            "0 for any free port"
        ) from error
