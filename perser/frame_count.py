"""How many frames an encoder's front-end makes of a clip, told from the number of samples alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameCount:
    """A front-end as a chain of strided convolutions.

    Args:
        convolutions: Their (kernel, stride), in samples of what each reads; padding belongs to the kernel.
        least: A shorter clip is followed by silence up to this many samples.
        window: Longer clips are cut into windows of this many samples, each on its own; None for no cut.
    """

    convolutions: tuple[tuple[int, int], ...]
    least: int
    window: int | None = None

    def __call__(self, num_samples: int) -> int:
        """Frames of a clip of `num_samples` at 16 kHz."""
        if self.window is None or num_samples <= self.window:
            return self._unbroken(num_samples)
        whole, rest = divmod(num_samples, self.window)
        return whole * self._unbroken(self.window) + (self._unbroken(rest) if rest else 0)

    def _unbroken(self, num_samples: int) -> int:
        length = max(num_samples, self.least)
        for kernel, stride in self.convolutions:
            length = (length - kernel) // stride + 1
        return length
