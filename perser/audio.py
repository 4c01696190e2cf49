"""Decode recordings to 16 kHz mono, or say why a file cannot be used."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

# torch is imported where it is used: `perser prepare --help` needs the suffixes, not half a second of it.
if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 16_000
"""Samples per second that every speech encoder here expects."""

# fmt: off
AUDIO_SUFFIXES = frozenset((
    ".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".mp4", ".oga", ".ogg", ".opus",
    ".sph", ".w64", ".wav", ".webm", ".wma",
))
# fmt: on
"""Files in a folder are recordings if they have one of these. A file that the user names may have any."""

SILENCE_PEAK = 1e-4
"""A recording that never rises above this (-80 dBFS, three steps of 16 bits) is silent."""

LOUDEST_PEAK = 2.0**32
"""Samples above this are not sound. Floats that were scaled as 32-bit integers stay below."""

LONGEST_SECONDS = 600.0
"""A longer recording is no utterance. It is refused by its header, so that ten hours are never decoded."""

ACCEPTED_RATES = (4_000, 192_000)
"""Lowest and highest rate (samples per second) at which speech is recorded."""

MISSING_SHARE = 0.1
"""A file that lacks more than this share of the samples that its header announces was cut short. Less is
accepted, because some headers are a little off."""

_BLOCK = 1 << 20
"""Values, over all channels, that are decoded at a time."""

_LARGEST_KERNEL = 1 << 20
"""With more values in torchaudio's kernel, scipy resamples instead (44,101 Hz: 700 million)."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""A header with this size or more was written by a program that did not know the size: a stream."""

_ANNOUNCED = re.compile(r"^ *(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""libsndfile's note that a chunk is shorter than its header says: announced bytes, then real bytes."""


class BadAudio(Exception):
    """A recording that cannot be used. The message is the reason, such as "empty" or "too short (0.03 s)"."""


def load_audio(
    source: Path | bytes, min_seconds: float = 0.1, max_seconds: float = LONGEST_SECONDS
) -> torch.Tensor:
    """Decode a file, or a file's content, to float32 of shape (num_samples,): 16 kHz, channels averaged.

    Raises BadAudio for a recording that is missing, unreadable, empty, silent, not finite, cut short, shorter
    than `min_seconds`, longer than `max_seconds`, or with a sample rate outside `ACCEPTED_RATES`. Little more
    than `max_seconds` of a recording is decoded, however long it is.
    """
    if _size(source) == 0:
        raise BadAudio("empty")
    waveform, rate = _decode(source, max_seconds)
    if waveform.numel() == 0:
        raise BadAudio("empty")
    seconds = len(waveform) / rate
    if seconds < min_seconds:
        raise BadAudio(f"too short ({seconds:.2f} s)")
    if not waveform.isfinite().all():
        raise BadAudio("not finite")
    peak = waveform.abs().max()
    if peak > LOUDEST_PEAK:
        raise BadAudio(f"no sound: its samples reach {peak:.0e}")
    waveform = at_sample_rate(waveform, rate)
    if waveform.abs().max() < SILENCE_PEAK:
        raise BadAudio("silent")
    return waveform


def at_sample_rate(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """Resample (num_samples,) from `rate` samples per second to 16 kHz.

    Raises BadAudio for a rate outside `ACCEPTED_RATES`.
    """
    _check_rate(rate)
    if rate == SAMPLE_RATE:
        return waveform
    common = np.gcd(rate, SAMPLE_RATE)
    if (rate // common) * (SAMPLE_RATE // common) > _LARGEST_KERNEL:
        import torch
        from scipy.signal import resample_poly

        resampled = resample_poly(waveform.numpy(), SAMPLE_RATE // common, rate // common)
        return torch.from_numpy(resampled.astype(np.float32))
    from torchaudio.functional import resample  # here, because it takes half a second and is often not needed

    return resample(waveform, rate, SAMPLE_RATE)


class _Content(BytesIO):
    """A file's content in memory. A damaged header may seek to before its beginning; that ends at 0."""

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.tell(), self.getbuffer().nbytes)[whence]
        return super().seek(max(0, start + offset))


def _size(source: Path | bytes) -> int:
    """Return the size in bytes. Raises BadAudio for what is not a file or cannot be looked at."""
    if isinstance(source, bytes):
        return len(source)
    try:
        if not source.is_file():
            raise BadAudio("missing")
        return source.stat().st_size
    except OSError as error:  # a name that is too long, a folder without permission
        raise BadAudio(f"cannot be opened: {error.strerror}") from error


def _check_rate(rate: int) -> None:
    lowest, highest = ACCEPTED_RATES
    if not lowest <= rate <= highest:
        raise BadAudio(f"{rate} samples a second (speech has {lowest} to {highest})")


def _check_length(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise BadAudio(f"longer than {max_seconds:g} s")


def _decode(source: Path | bytes, max_seconds: float) -> tuple[torch.Tensor, int]:
    """Return the mean of the channels, float32 (num_samples,), and the sample rate.

    soundfile decodes; torchcodec decodes what soundfile cannot. A broken file can make a decoder raise any
    exception (TypeError for a `.raw` without header), and one file must not stop a run over thousands. Hence
    the two broad `except` clauses.
    """
    import torch

    try:
        with soundfile.SoundFile(source if isinstance(source, Path) else _Content(source)) as file:
            _check_rate(file.samplerate)
            _check_length(file.frames / file.samplerate, max_seconds)
            waveform = _read_mono(file, max_seconds)
            _check_complete(file, len(waveform))
            return torch.from_numpy(waveform), file.samplerate
    except BadAudio:
        raise
    except Exception as error:
        return _decode_with_torchcodec(source, max_seconds, first_error=error)


def _read_mono(file: soundfile.SoundFile, max_seconds: float) -> np.ndarray:
    """Return (num_samples,), averaged block by block, so that 64 channels take no more memory than one.

    Raises BadAudio once more than `max_seconds` are read: a header may announce less than the file holds.
    """
    blocks, num_read, size = [], 0, max(1, _BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        with np.errstate(over="ignore"):  # an overflow gives infinity, which is refused later
            blocks.append(block[:, 0].copy() if file.channels == 1 else block.mean(axis=1))
        num_read += len(block)
        _check_length(num_read / file.samplerate, max_seconds)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _check_complete(file: soundfile.SoundFile, num_read: int) -> None:
    """Raise BadAudio if a file ends long before its header says."""
    announced = float(file.frames)
    for size, there in _ANNOUNCED.findall(file.extra_info):
        if 0 < int(there) < int(size) < _UNKNOWN_SIZE:
            announced *= int(size) / int(there)
    if num_read < (1 - MISSING_SHARE) * announced:
        rate = file.samplerate
        raise BadAudio(f"cut short: {num_read / rate:.2f} s are left of {announced / rate:.2f}")


def _decode_with_torchcodec(
    source: Path | bytes, max_seconds: float, first_error: Exception
) -> tuple[torch.Tensor, int]:
    if _is_text(source):  # FFmpeg would take a playlist for a recording, and open the files that it names
        raise BadAudio(f"unreadable: {_short_reason(first_error)} (it holds text)") from first_error
    try:
        # Imported here: it needs FFmpeg's libraries, and soundfile's formats do not.
        from torchcodec.decoders import AudioDecoder
    except (ImportError, OSError, RuntimeError):
        reason = _short_reason(first_error)
        raise BadAudio(f"unreadable: {reason} (torchcodec was no help: FFmpeg not found)") from first_error
    try:
        # A little more than the limit, so that a recording that is too long is noticed.
        decoded = AudioDecoder(source).get_samples_played_in_range(stop_seconds=max_seconds + 0.1)
        waveform, rate = decoded.data.float().mean(dim=0), int(decoded.sample_rate)
    except Exception as error:
        raise BadAudio(f"unreadable: {_short_reason(error)}") from error
    _check_rate(rate)
    _check_length(len(waveform) / rate, max_seconds)
    return waveform, rate


def _is_text(source: Path | bytes) -> bool:
    """Return whether the first 512 bytes are plain text: a web page, a playlist, a git-lfs pointer."""
    if isinstance(source, bytes):
        start = source[:512]
    else:
        try:
            with source.open("rb") as stream:
                start = stream.read(512)
        except OSError:  # decoding it will fail too, with the reason
            return False
    return not re.search(rb"[^\t\n\r\x20-\x7e]", start.removeprefix(b"\xef\xbb\xbf"))


def _short_reason(error: Exception) -> str:
    first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
    # soundfile's message begins with the whole path, which the user's message names already.
    return first_line.rpartition(": ")[2].rstrip(".")
