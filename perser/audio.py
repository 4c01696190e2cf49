"""Any recording to 16 kHz mono, and the reasons for which a file is not fit to be used."""

from __future__ import annotations

from io import BytesIO
from math import ceil, inf
from pathlib import Path

import soundfile
import torch

SAMPLE_RATE = 16_000
"""Samples a second that every speech encoder here expects."""

SILENCE_PEAK = 1e-4
"""A recording that never rises above this (-80 dBFS, three steps of 16 bits) is silent."""


class BadAudio(Exception):
    """A file that cannot be used; the message is the reason, such as "empty" or "too short (0.03 s)"."""


def load_audio(source: Path | bytes, min_seconds: float = 0.1, max_seconds: float = inf) -> torch.Tensor:
    """Decode a file, or its content, to float32 of shape (num_samples,): 16 kHz, channels averaged.

    Raises BadAudio for a file that is missing, unreadable, empty, silent, not finite, shorter than
    `min_seconds` or longer than `max_seconds` (hardly more than which is decoded, however long it is).
    """
    if isinstance(source, Path) and not source.is_file():
        raise BadAudio("missing")
    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        raise BadAudio("empty")
    samples, rate = _decode(source, max_seconds)
    if samples.numel() == 0:
        raise BadAudio("empty")
    if not samples.isfinite().all():
        raise BadAudio("not finite")
    seconds = samples.shape[-1] / rate
    if seconds < min_seconds:
        raise BadAudio(f"too short ({seconds:.2f} s)")
    if seconds > max_seconds:
        raise BadAudio(f"longer than {max_seconds:g} s")
    waveform = _resampled(samples.mean(dim=0), rate)
    if waveform.abs().max() < SILENCE_PEAK:
        raise BadAudio("silent")
    return waveform


def _resampled(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """At 16 kHz."""
    if rate == SAMPLE_RATE:
        return waveform
    from torchaudio.functional import resample  # half a second to import, and often not needed

    return resample(waveform, rate, SAMPLE_RATE)


def _decode(source: Path | bytes, max_seconds: float) -> tuple[torch.Tensor, int]:
    """Samples, float32 (num_channels, num_samples), and their rate: soundfile, else torchcodec. Of a longer
    recording, a little more than `max_seconds`.

    A broken file makes a decoder raise anything at all (TypeError for a headerless `.raw`), and one
    file must not stop a run of thousands: hence the two broad excepts.
    """
    try:
        file = source if isinstance(source, Path) else BytesIO(source)
        with soundfile.SoundFile(file) as opened:
            rate = opened.samplerate
            most = -1 if max_seconds == inf else ceil(max_seconds * rate) + 1
            samples = opened.read(most, dtype="float32", always_2d=True)
    except Exception as error:
        return _decode_with_torchcodec(source, max_seconds, first_error=error)
    return torch.from_numpy(samples.T.copy()), rate


def _decode_with_torchcodec(
    source: Path | bytes, max_seconds: float, first_error: Exception
) -> tuple[torch.Tensor, int]:
    try:
        # Imported here: it needs FFmpeg's libraries, which soundfile's formats do without.
        from torchcodec.decoders import AudioDecoder
    except (ImportError, OSError, RuntimeError):
        reason = _one_line(first_error)
        raise BadAudio(f"unreadable: {reason} (torchcodec was no help: FFmpeg not found)") from first_error
    try:
        decoder = AudioDecoder(source)
        stop = None if max_seconds == inf else max_seconds + 0.1  # seconds
        decoded = decoder.get_samples_played_in_range(stop_seconds=stop)
    except Exception as error:
        raise BadAudio(f"unreadable: {_one_line(error)}") from error
    return decoded.data.float(), decoded.sample_rate


def _one_line(error: Exception) -> str:
    first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
    # soundfile names the whole path, which whoever reads the reason has already.
    return first_line.rpartition(": ")[2].rstrip(".")
