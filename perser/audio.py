"""Any recording to 16 kHz mono, and the reasons for which a file is not fit to be used."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch

SAMPLE_RATE = 16_000
"""Samples a second that every speech encoder here expects."""

SILENCE_PEAK = 1e-4
"""A recording that never rises above this (-80 dBFS, three steps of 16 bits) is silent."""

LOUDEST_PEAK = 2.0**32
"""One that rises above this is no sound: floats that were scaled as 32-bit whole numbers stay below."""

LONGEST_SECONDS = 600.0
"""A longer recording is no utterance: refused by its header, so that ten hours never come into memory."""

RATES = (4_000, 192_000)
"""Lowest and highest rate (samples a second) at which speech is recorded."""

MISSING_SHARE = 0.1
"""A file that lacks more than this of the samples that its header promises was cut short; a header that is a
little off is forgiven."""

_BLOCK = 1 << 20
"""Values, over all channels, that are decoded at a time."""

_LARGEST_KERNEL = 1 << 20
"""Values of torchaudio's kernel for an unusual rate (44,101 Hz: 700 million) above which scipy resamples."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""Bytes from which on a header's size says that whoever wrote it did not know it: a stream."""

_PROMISED = re.compile(r"^ *(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)


class BadAudio(Exception):
    """A file that cannot be used; the message is the reason, such as "empty" or "too short (0.03 s)"."""


def load_audio(
    source: Path | bytes, min_seconds: float = 0.1, max_seconds: float = LONGEST_SECONDS
) -> torch.Tensor:
    """Decode a file, or its content, to float32 of shape (num_samples,): 16 kHz, channels averaged.

    Raises BadAudio for a file that is missing, unreadable, empty, silent, not finite, cut short, shorter than
    `min_seconds` or longer than `max_seconds` (hardly more than which is decoded, however long it is), or
    recorded at a rate outside `RATES`.
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
    """(num_samples,) at `rate` samples a second to 16 kHz. Raises BadAudio for a rate outside `RATES`."""
    _check_rate(rate)
    if rate == SAMPLE_RATE:
        return waveform
    common = np.gcd(rate, SAMPLE_RATE)
    if (rate // common) * (SAMPLE_RATE // common) > _LARGEST_KERNEL:
        from scipy.signal import resample_poly

        resampled = resample_poly(waveform.numpy(), SAMPLE_RATE // common, rate // common)
        return torch.from_numpy(resampled.astype(np.float32))
    from torchaudio.functional import resample  # half a second to import, and often not needed

    return resample(waveform, rate, SAMPLE_RATE)


class _Content(BytesIO):
    """A file's content, in which a damaged header may ask for a place before the beginning."""

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self.tell(), self.getbuffer().nbytes)[whence]
        return super().seek(max(0, start + offset))


def _size(source: Path | bytes) -> int:
    """Bytes. Raises BadAudio for what is no file, or cannot be looked at."""
    if isinstance(source, bytes):
        return len(source)
    try:
        if not source.is_file():
            raise BadAudio("missing")
        return source.stat().st_size
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise BadAudio(f"cannot be opened: {error.strerror}") from error


def _check_rate(rate: int) -> None:
    lowest, highest = RATES
    if not lowest <= rate <= highest:
        raise BadAudio(f"{rate} samples a second (speech has {lowest} to {highest})")


def _check_length(seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds:
        raise BadAudio(f"longer than {max_seconds:g} s")


def _decode(source: Path | bytes, max_seconds: float) -> tuple[torch.Tensor, int]:
    """The channels' mean, float32 (num_samples,), and its rate: by soundfile, else by torchcodec.

    A broken file makes a decoder raise anything at all (TypeError for a headerless `.raw`), and one
    file must not stop a run of thousands: hence the two broad excepts.
    """
    try:
        with soundfile.SoundFile(source if isinstance(source, Path) else _Content(source)) as file:
            _check_rate(file.samplerate)
            _check_length(file.frames / file.samplerate, max_seconds)
            waveform = _mixed(file, max_seconds)
            _check_whole(file, len(waveform))
            return torch.from_numpy(waveform), file.samplerate
    except BadAudio:
        raise
    except Exception as error:
        return _decode_with_torchcodec(source, max_seconds, first_error=error)


def _mixed(file: soundfile.SoundFile, max_seconds: float) -> np.ndarray:
    """(num_samples,): averaged block by block, so that 64 channels take no more memory than one. What a
    header leaves out is not read either."""
    blocks, found, size = [], 0, max(1, _BLOCK // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        with np.errstate(over="ignore"):  # what overflows is not finite, and refused as that
            blocks.append(block[:, 0].copy() if file.channels == 1 else block.mean(axis=1))
        found += len(block)
        _check_length(found / file.samplerate, max_seconds)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _check_whole(file: soundfile.SoundFile, found: int) -> None:
    """Raises BadAudio for a file that ends long before its header says so."""
    promised = float(file.frames)
    for size, there in _PROMISED.findall(file.extra_info):
        if 0 < int(there) < int(size) < _UNKNOWN_SIZE:
            promised *= int(size) / int(there)
    if found < (1 - MISSING_SHARE) * promised:
        rate = file.samplerate
        raise BadAudio(f"cut short: {found / rate:.2f} s are left of {promised / rate:.2f}")


def _decode_with_torchcodec(
    source: Path | bytes, max_seconds: float, first_error: Exception
) -> tuple[torch.Tensor, int]:
    if _is_text(source):  # FFmpeg would take a playlist for a recording, and open what it names
        raise BadAudio(f"unreadable: {_one_line(first_error)} (it holds text)") from first_error
    try:
        # Imported here: it needs FFmpeg's libraries, which soundfile's formats do without.
        from torchcodec.decoders import AudioDecoder
    except (ImportError, OSError, RuntimeError):
        reason = _one_line(first_error)
        raise BadAudio(f"unreadable: {reason} (torchcodec was no help: FFmpeg not found)") from first_error
    try:
        # A little more than may be, so that what is too long shows.
        decoded = AudioDecoder(source).get_samples_played_in_range(stop_seconds=max_seconds + 0.1)
        waveform, rate = decoded.data.float().mean(dim=0), int(decoded.sample_rate)
    except Exception as error:
        raise BadAudio(f"unreadable: {_one_line(error)}") from error
    _check_rate(rate)
    _check_length(len(waveform) / rate, max_seconds)
    return waveform, rate


def _is_text(source: Path | bytes) -> bool:
    """Whether it begins as no recording does: a page, a playlist, git-lfs's note of where a file is."""
    if isinstance(source, bytes):
        start = source[:512]
    else:
        try:
            with source.open("rb") as stream:
                start = stream.read(512)
        except OSError:  # whoever tries to decode it says what is wrong
            return False
    return not re.search(rb"[^\t\n\r\x20-\x7e]", start.removeprefix(b"\xef\xbb\xbf"))


def _one_line(error: Exception) -> str:
    first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
    # soundfile names the whole path, which whoever reads the reason has already.
    return first_line.rpartition(": ")[2].rstrip(".")
