"""Speak with eSpeak NG: a function from text and delivery to samples. Equal inputs give equal samples.

The library comes from the package espeakng-loader and is called through its C interface, `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from scipy.signal import resample_poly

from perser.audio import SAMPLE_RATE
from perser.errors import UserError

# Names and values as in espeak-ng/speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2

_INITIALIZE_DONT_EXIT = 0x8000

_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4

_POS_CHARACTER = 1

_CHARS_UTF8 = 1

_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Delivery:
    """How a text is spoken, in eSpeak's own units."""

    voice: str
    """A voice and its variant, as in `en-us+f2`."""
    pitch: int
    """0-99; 50 is the voice's own pitch; about 6.6 units are a semitone."""
    pitch_range: int
    """0-99; 0 is a monotone, 50 the voice's own range."""
    rate: int
    """Words per minute, 80-450."""
    volume: int
    """Linear; 100 is normal, and samples clip above it."""


class Espeak:
    """The synthesizer, used as a context manager.

    eSpeak keeps state from clip to clip (the phase of its pitch flutter, echo), and its interface cannot
    reset it. So the library is loaded anew for every clip, and a clip depends on its text and delivery alone.
    Loading takes less than a millisecond.
    """

    def __init__(self) -> None:
        if os.name != "posix":
            raise UserError("simulated speech needs Linux or macOS: eSpeak NG is reloaded for each clip")
        try:
            import espeakng_loader
        except ImportError:
            raise UserError(
                "simulated speech needs eSpeak NG, which is not installed: pip install 'perser[quickstart]'"
            ) from None
        self._original = Path(espeakng_loader.get_library_path())
        self._data = str(espeakng_loader.get_data_path()).encode()
        self._process = ctypes.CDLL(None)
        self._process.dlclose.argtypes = [ctypes.c_void_p]

    def __enter__(self) -> Self:
        # A copy: if other code in this process uses the original, that would not be unloaded.
        self._folder = tempfile.TemporaryDirectory(prefix="perser-espeak-")
        self._library = Path(self._folder.name) / self._original.name
        shutil.copyfile(self._original, self._library)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def say(self, text: str, delivery: Delivery) -> np.ndarray:
        """Return float64 samples (num_samples,) in [-1, 1] at 16 kHz.

        Raises UserError for a voice that eSpeak does not have.
        """
        library = ctypes.CDLL(str(self._library))
        try:
            rate, samples = self._speak(library, text, delivery)
        finally:
            library.espeak_Terminate()
            self._process.dlclose(library._handle)
        # In double precision, so that rounding, which differs between processors, does not change 16-bit
        # samples.
        return resample_poly(samples.astype(np.float64) / 32768, SAMPLE_RATE, rate)

    def _speak(self, library: ctypes.CDLL, text: str, delivery: Delivery) -> tuple[int, np.ndarray]:
        """Return eSpeak's own sample rate and its int16 samples (num_samples,)."""
        rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, self._data, _INITIALIZE_DONT_EXIT)
        if rate <= 0:
            raise UserError(f"eSpeak NG did not start with the data in {self._data.decode()}: reinstall it")
        # Breath is random noise, from eSpeak's generator (which it seeds by the clock) or the C library's.
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._process.srand(1)
        pieces: list[bytes] = []

        @_SYNTH_CALLBACK
        def receive(wave: int | None, num_samples: int, _events: int | None) -> int:
            if wave and num_samples > 0:
                pieces.append(ctypes.string_at(wave, 2 * num_samples))
            return 0  # continue

        library.espeak_SetSynthCallback(receive)
        if library.espeak_SetVoiceByName(delivery.voice.encode()):
            raise UserError(f"eSpeak NG has no voice '{delivery.voice}'")
        for parameter, value in (
            (_RATE, delivery.rate),
            (_VOLUME, delivery.volume),
            (_PITCH, delivery.pitch),
            (_RANGE, delivery.pitch_range),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        words = text.encode() + b"\0"
        library.espeak_Synth(
            words, ctypes.c_size_t(len(words)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        library.espeak_Synchronize()
        return rate, np.frombuffer(b"".join(pieces), dtype=np.int16)
