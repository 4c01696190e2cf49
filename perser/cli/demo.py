"""perser demo --model DIR [--model DIR]: open a web page to label a few clips and see what that changes."""

from __future__ import annotations

import signal
from threading import Event
from types import FrameType

from perser.web.limits import Limits


def demo(model: list[str], port: int = 7860, device: str | None = None, limits: Limits = Limits()) -> None:
    """Open a web page, for this machine alone, to label a few clips and see what that changes.

    Args:
        model: starter, starter-icl (they come with perser), or a trained model of either route, such as
            runs/quickstart/models/speech-lm, or an exported one's name on the Hugging Face Hub; may be
            repeated, to compare several side by side.
        port: port of the page, http://127.0.0.1:PORT; 0: any free port.
        device: where to compute, such as cuda or cpu; none: the GPU if there is one.
        limits: what the page accepts.

    Examples:
        perser demo --model starter-icl
    """
    from perser.errors import require_package

    require_package("gradio", "demo", "perser demo")
    from perser.demo.serving import serving
    from perser.web.models import load_models

    signal.signal(signal.SIGTERM, _stop)  # so that temporary files are removed when it is terminated, too
    with serving(load_models(model, device), limits, port) as address:
        print(f"{', '.join(model)}: open {address} in a browser; Ctrl+C stops it", flush=True)
        Event().wait()


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
