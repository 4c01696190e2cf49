"""perser serve --model DIR [--profiles DIR]: answer about clips over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

from perser.web.limits import ServerLimits

TOKEN = "PERSER_TOKEN"
"""The variable that holds the token where the option is not given."""


def serve(
    model: str,
    profiles: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    device: str | None = None,
    limits: ServerLimits = ServerLimits(),
) -> None:
    """Answer about clips over HTTP, with profiles or labeled clips, for this machine or a network.

    Args:
        model: starter, starter-icl (they come with perser), or a trained model of either route, such as
            runs/quickstart/models/speech-lm, or an exported one's name on the Hugging Face Hub.
        profiles: a folder of profiles to answer by, in which new ones are kept; none: keep none.
        host: address to listen on; one that other machines reach needs a token.
        port: port of the server; 0: any free port.
        token: what requests have to show; none: the variable PERSER_TOKEN, which other users of this machine
            do not see in the list of programs.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        limits: what the server accepts.

    Examples:
        perser serve --model starter-icl --profiles profiles
    """
    from perser.errors import require_package

    for package in ("fastapi", "uvicorn", "python_multipart", "fastapi_offline", "prometheus_client"):
        require_package(package, "serve", "perser serve")
    from perser.io.files import check_outputs
    from perser.server.serving import check_access, serve_until_stopped
    from perser.web.access import check_port
    from perser.web.models import load_models

    token = token if token is not None else os.environ.get(TOKEN)
    check_port(port)
    check_access(host, token)
    check_outputs(folders={"profiles": profiles})
    ((title, recognizer),) = load_models([model], device).items()
    serve_until_stopped(recognizer, title, limits, host, port, profiles, token)
