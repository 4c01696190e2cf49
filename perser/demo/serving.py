"""Load the models of the page and serve it on a port of this machine.

Uploaded files are in a temporary folder, which is removed when serving ends.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from perser.audio import SAMPLE_RATE
from perser.demo.limits import Limits
from perser.errors import UserError
from perser.inference.recognizer import Recognizer

HOST = "127.0.0.1"

LAST_PORT = 65_535

STYLE = Path(__file__).with_name("page.css")

SYSTEM_FONTS = ("system-ui", "sans-serif")

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'"
"""Tells the browser to let the page send requests to this server only."""

WARM_UP_SECONDS = 1


def load_models(names: Sequence[str], device: str | None = None) -> dict[str, Recognizer]:
    """Load trained models by their folders or Hub names; return them by the last part of each name.

    Each answers about noise once, so that the first answer on the page does not wait for imports. Raises
    UserError where a model is missing or given twice, or the models know different emotions: a clip must
    get the same labels for all of them.
    """
    if not names:
        raise UserError("model: none given, name at least one trained model")
    if len({Path(name).resolve() for name in names}) < len(names):
        raise UserError("model: the same one twice, name another one the second time")
    short = [Path(name).expanduser().resolve().name for name in names]
    titles = short if len(set(short)) == len(names) else names
    recognizers = [Recognizer.from_pretrained(name, device) for name in names]
    models = dict(zip(titles, recognizers, strict=True))
    emotions = {title: recognizer.emotions.names for title, recognizer in models.items()}
    if len({frozenset(names) for names in emotions.values()}) > 1:
        listed = "; ".join(f"{title}: {', '.join(names)}" for title, names in emotions.items())
        raise UserError(f"model: these know different emotions ({listed}), give models of one set")
    for recognizer in recognizers:
        recognizer.predict([np.random.default_rng(0).normal(0, 0.1, WARM_UP_SECONDS * SAMPLE_RATE)])
    return models


@contextmanager
def serving(models: Mapping[str, Recognizer], limits: Limits, port: int) -> Iterator[str]:
    """Serve the page to this machine only, on a port (any free one for 0), and yield its address.

    All uploaded files are removed afterwards. Raises UserError for a number that is no port, or a port in
    use.
    """
    if not 0 <= port <= LAST_PORT:
        raise UserError(f"port: {port}, give one up to {LAST_PORT}, or 0 for any that is free")
    with tempfile.TemporaryDirectory(prefix="perser-demo-") as folder, _gradio_environment(Path(folder)):
        import gradio
        import gradio.routes
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from perser.demo.page import DemoPage

        gradio.routes.DEFAULT_TEMP_DIR = folder  # read at import, maybe for an earlier page
        page = DemoPage(models, limits, Path(folder)).blocks
        fonts = {"font": SYSTEM_FONTS, "font_mono": ("ui-monospace", "monospace")}
        # Another site's name that is made to resolve to this machine (DNS rebinding) is refused.
        own_names = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
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
                app_kwargs={"middleware": [own_names, Middleware(SameOriginOnly)]},
            )
        except OSError as error:
            raise UserError(f"port: {port} is not free, give another one ({error})") from error
        try:
            yield page.local_url.rstrip("/")
        finally:
            page.close(verbose=False)


class SameOriginOnly:
    """ASGI middleware that refuses requests from pages of other sites (which a browser names as `Origin`)
    and adds the policy of what the page may request to every response."""

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
    """Return a free port: gradio has no option for any free one."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


@contextmanager
def _gradio_environment(folder: Path) -> Iterator[None]:
    """Set what gradio reads from the environment when it is imported and when a page is made."""
    settings = {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
