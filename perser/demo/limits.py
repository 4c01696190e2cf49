"""How much one page may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What the page accepts.

    Args:
        seconds: of one clip.
        megabytes: of one file.
        examples: that one page holds.
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
        """Of one file."""
        return self.megabytes * 2**20
