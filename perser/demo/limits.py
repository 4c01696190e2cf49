"""How much one page of the demo accepts.

A module of its own because the command line imports it, and with it must not import torch or gradio.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the page accepts.

    Args:
        seconds: length of one clip.
        megabytes: size of one file.
        examples: how many a page can hold.
    """

    seconds: float = 30
    megabytes: int = 20
    examples: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name}: {value}, give more than 0")

    @property
    def bytes(self) -> int:
        """The size of one file in bytes."""
        return self.megabytes * 2**20
