"""Serve the page on a port of this machine.

Uploaded files are in a temporary folder, which is removed when serving ends.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perser.errors import UserError
from perser.inference.recognizer import Recognizer
from perser.web.access import HOST, OwnSiteOnly, check_port
from perser.web.limits import Limits

STYLE = Path(__file__).with_name("page.css")

SYSTEM_FONTS = ("system-ui", "sans-serif")

READABLE = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_label_text_color": "*neutral_600",
    "block_title_text_color": "*neutral_700",
}
"""Gradio's gray letters, with the contrast of 4.5 that WCAG 2.2 asks for."""


@contextmanager
def serving(models: Mapping[str, Recognizer], limits: Limits, port: int) -> Iterator[str]:
    """Serve the page to this machine only, on a port (any free one for 0), and yield its address.

    All uploaded files are removed afterwards. Raises UserError for a number that is no port, or a port in
    use.
    """
    check_port(port)
    with tempfile.TemporaryDirectory(prefix="perser-demo-") as folder, _gradio_environment(Path(folder)):
        import gradio
        import gradio.routes
        from starlette.middleware import Middleware

        from perser.demo.page import DemoPage

        gradio.routes.DEFAULT_TEMP_DIR = folder  # read at import, maybe for an earlier page
        page = DemoPage(models, limits, Path(folder)).blocks
        fonts: dict[str, Any] = {"font": SYSTEM_FONTS, "font_mono": ("ui-monospace", "monospace")}
        try:
            page.launch(
                server_name=HOST,
                server_port=port or _free_port(),
                share=False,
                quiet=True,
                inline=False,
                prevent_thread_lock=True,
                max_file_size=limits.max_bytes,
                theme=gradio.themes.Default(**fonts).set(**READABLE),
                css_paths=STYLE,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                enable_monitoring=False,
                app_kwargs={"middleware": [Middleware(OwnSiteOnly)]},
            )
        except OSError as error:
            raise UserError(f"port: {port} is not free, give another one ({error})") from error
        try:
            yield page.local_url.rstrip("/")
        finally:
            page.close(verbose=False)


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
