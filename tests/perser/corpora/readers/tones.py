"""Write tones as recordings for the tests of readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def tone(pitch: float = 220.0, seconds: float = 0.2, rate: int = 16_000) -> np.ndarray:
    """Return samples (num_samples,) of a tone with a peak of 0.3."""
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_tone(path: Path, pitch: float = 220.0, seconds: float = 0.2, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(pitch, seconds, rate), rate)
    return path
