"""Progress bars: drawn on a terminal, and a line a minute everywhere else, such as in the log of a job."""

from __future__ import annotations

import os
import sys
import time
from typing import ClassVar, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0
"""Time between two lines of progress where there is no terminal, over all bars together."""

SECONDS_BEFORE_FIRST_LINE = 10.0
"""How long a bar has to run before it writes a line where there is no terminal."""


class LineLog:
    """What a bar writes to where there is no terminal: a stream that gets its text as lines, a minute apart.

    A bar that ends within `SECONDS_BEFORE_FIRST_LINE` writes nothing.
    """

    _last: ClassVar[float] = -SECONDS_BETWEEN_LINES

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()

    def write(self, text: str) -> None:
        line = text.strip()
        now = time.monotonic()
        if now - self._started < SECONDS_BEFORE_FIRST_LINE:
            return
        if line and now - LineLog._last >= SECONDS_BETWEEN_LINES:
            LineLog._last = now
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def flush(self) -> None:
        """Do nothing: every line is flushed as it is written."""


def progress_bar(
    total: int,
    description: str | None = None,
    done: int = 0,
    unit: str = "it",
    units_per_step: int = 1,
    hidden: bool = False,
) -> tqdm:
    """Return a progress bar with the time left and units a second, shown by the main process alone.

    Args:
        total: steps.
        description: stands before the bar.
        done: steps that an earlier start has taken.
        unit: what is counted.
        units_per_step: how many of those one step has.
        hidden: whether it is not shown at all.
    """
    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        initial=done,
        unit=unit,
        unit_scale=units_per_step if units_per_step > 1 else False,
        dynamic_ncols=on_terminal,
        file=sys.stderr if on_terminal else LineLog(sys.stderr),
        mininterval=0.1 if on_terminal else 1.0,
        disable=hidden or os.environ.get("LOCAL_RANK", "0") != "0",
    )
