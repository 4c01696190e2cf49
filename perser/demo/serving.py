"""The page on a port of this machine, with a folder of its own for what is uploaded; both end together."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perser.demo.limits import Limits
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

HOST = "127.0.0.1"

LAST_PORT = 65_535

STYLE = Path(__file__).with_name("page.css")

SYSTEM_FONTS = ("system-ui", "sans-serif")

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'"
"""What a browser lets the page do: ask this server, and nobody else, for anything."""


@contextmanager
def serving(models: Mapping[str, Recognizer], limits: Limits, port: int) -> Iterator[str]:
    """Serve the page to this machine alone on a port (any for 0), and give its address. All files of all
    pages are gone afterwards. Raises UserError where the port is none, or not free."""
    if not 0 <= port <= LAST_PORT:
        raise UserError(f"port: {port}, give one up to {LAST_PORT}, or 0 for any that is free")
    with tempfile.TemporaryDirectory(prefix="perser-demo-") as folder, _gradio_told(Path(folder)):
        import gradio
        import gradio.routes
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from perser.demo.page import Page

        gradio.routes.DEFAULT_TEMP_DIR = folder  # was read at its import, maybe for a page that is over
        page = Page(models, limits, Path(folder)).blocks
        fonts = {"font": SYSTEM_FONTS, "font_mono": ("ui-monospace", "monospace")}
        # A name that somebody made to lead here is no name of this page's: no other site reads along.
        only_here = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        try:
            page.launch(
                server_name=HOST,
                server_port=port or _free_port(),
                share=False,
                quiet=True,
                inline=False,
                prevent_thread_lock=True,
                max_file_size=limits.bytes,
                theme=gradio.themes.Default(**fonts),
                css_paths=STYLE,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                app_kwargs={"middleware": [only_here, Middleware(AnswersToThisPageAlone)]},
            )
        except OSError as error:
            raise UserError(f"port: {port} is not free, give another one ({error})") from error
        try:
            yield page.local_url.rstrip("/")
        finally:
            page.close(verbose=False)


class AnswersToThisPageAlone:
    """ASGI middleware: every answer says what the page may ask for, and what another site's page asks or
    sends (a browser names it as `Origin`) is refused."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message = message | {"headers": [*message.get("headers", ()), policy]}
            await send(message)

        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin")
        if scope["type"] == "http" and origin not in (None, b"http://" + headers.get(b"host", b"")):
            refused = [(b"content-length", b"0")]
            await send_with_policy({"type": "http.response.start", "status": 403, "headers": refused})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send_with_policy)


def _free_port() -> int:
    """Gradio has no word for any that is free."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


@contextmanager
def _gradio_told(folder: Path) -> Iterator[None]:
    """Gradio reads these where it is imported and where a page is made."""
    told = {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
