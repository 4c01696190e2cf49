"""Make 16 kHz mono of a recording in any form, or say why it cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import soundfile

from perser.errors import BadAudio, first_line, is_unicode
from perser.samples import (
    BLOCK,
    MISSING,
    SAMPLE_RATE,
    SILENCE_LEVEL,
    Samples,
    find_samples,
    mix,
    read_decoder,
)

# torch is imported where it is used: `perser prepare --help` needs the suffixes, not half a second of it.
if TYPE_CHECKING:
    import torch

# fmt: off
AUDIO_SUFFIXES = frozenset((
    ".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp3", ".mp4", ".oga", ".ogg", ".opus",
    ".sph", ".w64", ".wav", ".webm", ".wma",
))
# fmt: on
"""Files in a folder are recordings if they have one of these. A file that the user names may have any."""

LOUDEST_PEAK = 16.0
"""Full scale is 1, and a recording that was mixed too loud exceeds it a little. Floats that reach further (by
24 dB) were made from whole numbers without scaling them."""

SHORTEST_SECONDS = 0.1
"""A shorter recording is no utterance."""

LONGEST_SECONDS = 600.0
"""A longer recording is no utterance. It is refused by its header, so that ten hours are never decoded."""

ACCEPTED_RATES = (4_000, 192_000)
"""Lowest and highest rate (samples per second) at which speech is recorded."""

MISSING_SHARE = 0.1
"""A file that lacks more than this share of the samples that its header announces was cut short. Less is
accepted, because some headers are a little off."""

_LARGEST_KERNEL = 1 << 20
"""With more values in torchaudio's kernel, scipy resamples instead (44,101 Hz: 700 million)."""

_UNKNOWN_SIZE = 0x7FFF_0000
"""A header with this size or more was written by a program that did not know the size: a stream."""

_LOOKED_AT = 512
"""Bytes at the beginning of a file that show whether it is text: sound has control characters among them."""

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"v=0")
"""How files begin that make FFmpeg open others, whatever follows."""

_ANNOUNCED = re.compile(r"^ *(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""libsndfile's note that a chunk is shorter than its header says: announced bytes, then real bytes."""


def load_audio(
    source: Any, min_seconds: float = SHORTEST_SECONDS, max_seconds: float = LONGEST_SECONDS
) -> torch.Tensor:
    """Return a recording as float32 of shape (num_samples,): 16 kHz, channels mixed (`perser.samples.mix`).

    All audio comes in here, so that the same recording gives the same samples in every form.

    Args:
        source: A file by its path, its content (bytes), or an open binary file, which is read from its
            beginning; samples at 16 kHz as an array, tensor or list; an array or tensor of several channels,
            (num_channels, num_samples) or transposed; `(samples, rate)` or `(rate, samples)`;
            `{"array": samples, "sampling_rate": rate}`, `{"bytes": content}` or `{"path": path}`; a decoder
            of torchcodec or datasets. Whole numbers are scaled by their type; floats are in [-1, 1].
        min_seconds: A shorter recording is refused.
        max_seconds: A longer recording is refused. Little more of it is decoded.

    Raises BadAudio for a recording that is missing, unreadable, empty, silent, not finite, cut short, too
    short, too long, far beyond full scale, or with a sample rate outside `ACCEPTED_RATES`.
    """
    found = find_samples(source, max_seconds)
    if isinstance(found, Samples):
        waveform, rate = _mixed(found, max_seconds), found.rate
    elif _size(found) == 0:
        raise BadAudio("empty")
    else:
        waveform, rate = _decode(found, max_seconds)
    if waveform.numel() == 0:
        raise BadAudio("empty")
    seconds = len(waveform) / rate
    if seconds < min_seconds:
        raise BadAudio(f"too short ({seconds:.2f} s)")
    if not waveform.isfinite().all():
        raise BadAudio("not finite")
    peak = waveform.abs().max()
    if peak > LOUDEST_PEAK:
        raise BadAudio(f"no sound between -1 and 1: it reaches {peak:.0e}, scale it (16 bits: by 1/32768)")
    waveform = at_sample_rate(waveform, rate)
    if (waveform.max() - waveform.min()) / 2 < SILENCE_LEVEL:
        raise BadAudio("silent" + (found.hint if isinstance(found, Samples) else ""))
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


def resample_from_16_khz(waveform: torch.Tensor, rate: int) -> torch.Tensor:
    """Resample (num_samples,) from 16 kHz to `rate` samples per second, as transformers' pipelines do."""
    if rate == SAMPLE_RATE:
        return waveform
    from torchaudio.functional import resample

    return resample(waveform, SAMPLE_RATE, rate)


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
        if source.is_dir():
            raise BadAudio("a folder, not a recording")
        if not source.is_file():
            if source.is_symlink() and not source.exists():
                raise BadAudio(f"{MISSING}: the link leads nowhere")
            raise BadAudio("cannot be opened: a pipe or a device" if source.exists() else MISSING)
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


def _mixed(samples: Samples, max_seconds: float) -> torch.Tensor:
    import torch

    _check_rate(samples.rate)
    _check_length(len(samples.values) / samples.rate, max_seconds)
    return torch.from_numpy(mix(samples.blocks))


def _decode(source: Path | bytes, max_seconds: float) -> tuple[torch.Tensor, int]:
    """Return the mix of the channels, float32 (num_samples,), and the sample rate.

    soundfile decodes; torchcodec decodes what soundfile cannot. A broken file can make a decoder raise any
    exception, and one file must not stop a run over thousands. Hence the broad `except` clause.
    """
    import torch

    if isinstance(source, Path) and not is_unicode(str(source)):
        source = source.read_bytes()  # the decoders open only files with a name in UTF-8
    try:
        with _opened(source) as stream, soundfile.SoundFile(stream, closefd=False) as file:
            _check_rate(file.samplerate)
            _check_length(file.frames / file.samplerate, max_seconds)
            waveform = mix(lambda: _blocks(file, max_seconds))
            _check_complete(file, len(waveform))
            return torch.from_numpy(waveform), file.samplerate
    except BadAudio:
        raise
    except Exception as error:
        return _decode_with_torchcodec(source, max_seconds, first_error=error)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO | int]:
    """Give soundfile an open file without a name: it would take `a.raw` for one without a header."""
    if isinstance(source, bytes):
        yield _Content(source)
    else:
        try:
            stream = source.open("rb")
        except OSError as error:
            raise BadAudio(f"cannot be opened: {error.strerror}") from error
        with stream:
            yield stream.fileno()


def _blocks(file: soundfile.SoundFile, max_seconds: float) -> Iterator[np.ndarray]:
    """Yield the samples (num_samples, num_channels) from the beginning, piece by piece.

    Raises BadAudio once more than `max_seconds` are read: a header may announce less than the file holds.
    """
    num_read, size = 0, max(1, BLOCK // file.channels)
    if file.tell():
        file.seek(0)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block
        num_read += len(block)
        _check_length(num_read / file.samplerate, max_seconds)


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
        decoder = AudioDecoder(source)
    except Exception as error:
        raise BadAudio(f"unreadable: {_short_reason(error)}") from error
    samples = read_decoder(decoder, max_seconds)
    return _mixed(samples, max_seconds), samples.rate


def _is_text(source: Path | bytes) -> bool:
    """Return whether a file begins like text: a web page, a playlist in any language, a git-lfs pointer."""
    if isinstance(source, bytes):
        start = source[:_LOOKED_AT]
    else:
        try:
            with source.open("rb") as stream:
                start = stream.read(_LOOKED_AT)
        except OSError:  # decoding it will fail too, with the reason
            return False
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(_PLAYLISTS) or not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", start)


def _short_reason(error: Exception) -> str:
    # soundfile's message begins with the whole path, which the user's message names already.
    return first_line(error).rpartition(": ")[2].rstrip(".")
