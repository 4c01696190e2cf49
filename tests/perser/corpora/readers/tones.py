"""Recordings for the tests: a tone is enough for a reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def tone(pitch: float = 220.0, seconds: float = 0.2, rate: int = 16_000) -> np.ndarray:
    """(num_samples,), peak 0.3."""
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_tone(path: Path, pitch: float = 220.0, seconds: float = 0.2, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(pitch, seconds, rate), rate)
    return path
