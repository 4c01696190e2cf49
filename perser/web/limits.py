"""How much the page and the server accept, and reading a recording within these limits.

The command line imports this module, so it must not import torch, gradio or FastAPI.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perser.errors import BadAudio, UserError

if TYPE_CHECKING:
    from torch import Tensor


class TooLarge(UserError):
    """A file that is larger than the limit."""


@dataclass(frozen=True)
class Limits:
    """What the page accepts.

    Args:
        seconds: longest clip, in seconds.
        megabytes: largest file, in megabytes.
        examples: most examples on one page.
    """

    seconds: float = 30
    megabytes: int = 20
    examples: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name}: {value}, give more than 0")

    @property
    def max_bytes(self) -> int:
        """The size of one file in bytes."""
        return self.megabytes * 2**20

    def check_size(self, size: int, name: str) -> None:
        """Raise TooLarge, which names the file, for one of more bytes than the limit."""
        if size > self.max_bytes:
            raise TooLarge(f"{name}: larger than {self.megabytes} MB")

    def read(self, recording: Path | bytes, name: str) -> Tensor:
        """Return the samples (num_samples,) at 16 kHz of a file or its content.

        Raises UserError, which names the file as `name`, for one that is too large or cannot be used.
        """
        from perser.audio import load_audio

        if isinstance(recording, bytes):
            self.check_size(len(recording), name)
        elif recording.is_file():
            self.check_size(recording.stat().st_size, name)
        try:
            return load_audio(recording, max_seconds=self.seconds)
        except BadAudio as error:
            raise UserError(f"{name}: {error}") from error


@dataclass(frozen=True)
class ServerLimits(Limits):
    """What the server accepts.

    Args:
        seconds: longest clip, in seconds.
        megabytes: largest file, in megabytes.
        examples: most examples in one request.
        request_megabytes: size of a whole request.
        request_seconds: how long a request may take to arrive.
        at_once: how many requests are worked on at the same time: one is computed while others are read.
        waiting: how many more may wait; further ones are refused with the status 503.
        profiles: how many profiles are kept.
    """

    request_megabytes: int = 64
    request_seconds: float = 60
    at_once: int = 2
    waiting: int = 128
    profiles: int = 10_000

    @property
    def request_bytes(self) -> int:
        """The size of a whole request in bytes."""
        return self.request_megabytes * 2**20
