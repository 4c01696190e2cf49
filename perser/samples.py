"""Recordings in memory: find the samples in what a program holds, scale them, and mix their channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any

import numpy as np

from perser.errors import BadAudio, first_line

SAMPLE_RATE = 16_000
"""Samples per second that every speech encoder here expects, and that samples without a rate have."""

SILENCE_LEVEL = 1e-4
"""A recording that never swings further than this (-80 dBFS, three steps of 16 bits) is silent."""

FAINT_SHARE = 0.03
"""A channel whose level is below this share (-30 dB) of the loudest one's has nothing to add to the mix."""

ALIKE = 0.5
"""Channels that correlate more than this are of one sound. Those that correlate less than its opposite would
cancel each other out: one of them is turned over."""

MOST_CHANNELS = 64
"""In an array. A larger second dimension is a spectrogram's, or that of a batch."""

LARGEST_STREAM = 1 << 30
"""Bytes that are read from an open file at most."""

BLOCK = 1 << 20
"""Values, over all channels, that are decoded or converted at a time."""

MISSING = "missing"
"""The reason why a recording that is not there cannot be used."""

_OF_RECORDINGS = ("get_samples_played_in_range", "read", "readframes", "sample_rate")
"""What only decoders, open files and what decoders return have."""

_HELD = 1 << 23
"""Values, over all channels, that are held while it is decided how to mix them. More are read twice."""


@dataclass(frozen=True)
class Samples:
    """Samples as a program holds them.

    Args:
        values: (num_samples, num_channels) of any type that numbers have.
        rate: Samples per second.
    """

    values: np.ndarray
    rate: int

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield float32 pieces (num_samples, num_channels) in [-1, 1], whole numbers scaled by their type."""
        size = max(1, BLOCK // max(1, self.values.shape[1]))
        for start in range(0, len(self.values), size):
            yield _scaled(self.values[start : start + size])

    @property
    def hint(self) -> str:
        """What to add to an error that says that they are silent."""
        if self.values.dtype.kind == "f" or not self.values.any():
            return ""
        return (
            f" as {self.values.dtype}: give whole numbers in the type that they were recorded in, like int16"
        )


def find_samples(source: Any, max_seconds: float) -> Samples | Path | bytes:
    """Return the samples that a program holds, or the path or content of the file that has them.

    Args:
        source: As of `perser.audio.load_audio`.
        max_seconds: How much of a decoder's recording is needed.

    Raises BadAudio for something that is no recording.
    """
    if isinstance(source, str | PathLike):
        return Path(fsdecode(source))
    if isinstance(source, memoryview) and source.format not in ("B", "b", "c"):
        source = np.asarray(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if source is None:
        raise BadAudio(MISSING)
    if isinstance(source, Mapping):
        return _in_mapping(source, max_seconds)
    if hasattr(source, "get_samples_played_in_range"):  # torchcodec's decoder, of which datasets' is a kind
        return read_decoder(source, max_seconds)
    if hasattr(source, "readframes") or (hasattr(source, "read") and hasattr(source, "samplerate")):
        kind = f"{type(source).__module__}.{type(source).__name__}"
        raise BadAudio(f"no recording (an open {kind}): give the file itself, or (samples, rate)")
    if hasattr(source, "read"):
        return _read(source)
    if hasattr(source, "sample_rate") and hasattr(source, "data"):  # what torchcodec's decoder returns
        return Samples(_columns(source.data), _whole_rate(source.sample_rate))
    if _is_pair(source):
        rate, values = source if isinstance(source[0], Number) else source[::-1]
        return Samples(_columns(values), _whole_rate(rate))
    return Samples(_columns(source), SAMPLE_RATE)


def is_single(audio: Any) -> bool:
    """Return whether this is one recording in a form that `find_samples` takes, and not several.

    The rows of an array are several, unless they are moments of up to MOST_CHANNELS channels, as soundfile
    gives them; so are the members of a list, unless they are numbers. What is neither a recording nor several
    of them counts as one, which `find_samples` refuses.
    """
    if audio is None or isinstance(audio, str | PathLike | bytes | bytearray | memoryview | Mapping | Number):
        return True
    if any(hasattr(audio, name) for name in _OF_RECORDINGS):
        return True
    if hasattr(audio, "ndim"):
        dtype = getattr(audio, "dtype", None)
        # torch's types have no kind, and are numbers.
        if dtype is None or getattr(dtype, "kind", "f") not in "iufbc":
            return dtype is None
        has_channels_last = audio.ndim == 2 and audio.shape[0] > audio.shape[1] <= MOST_CHANNELS
        return audio.ndim <= 1 or has_channels_last
    if _is_pair(audio) or not isinstance(audio, Iterable):
        return True
    return isinstance(audio, Sequence) and len(audio) > 0 and isinstance(audio[0], Number)


def mix(blocks: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """Return the mean (num_samples,) of the channels that carry sound.

    A channel that is silent, or faint beside the loudest one, is left out: it would only lower the level. A
    channel that is the opposite of a louder one is turned over: they would cancel each other out.

    Args:
        blocks: A function that yields float32 pieces (num_samples, num_channels) of the recording, from its
            beginning at each call. It is called a second time for a long recording of several channels, so
            that 64 channels take no more memory than one.
    """
    statistics, size = _ChannelStatistics(), 0
    held: list[np.ndarray] = []
    for block in blocks():
        size += block.size
        if block.shape[1] > 1:
            statistics.add(block)
            if size > _HELD:
                held.clear()
                continue
        held.append(block)
    signs = statistics.signs()
    mixed = [_mean(block, signs) for block in (held if held or not size else blocks())]
    return np.concatenate(mixed) if mixed else np.zeros(0, dtype=np.float32)


class _ChannelStatistics:
    """The range, the sums and the products of channels, added up piece by piece."""

    def __init__(self) -> None:
        self._count = 0
        self._lowest: Any = np.inf
        self._highest: Any = -np.inf
        self._sums: Any = 0.0
        self._products: Any = 0.0

    def add(self, block: np.ndarray) -> None:
        with np.errstate(all="ignore"):  # what is not finite stays so, and is refused later
            values = block.astype(np.float64)
            self._count += len(values)
            self._lowest = np.minimum(self._lowest, values.min(axis=0))
            self._highest = np.maximum(self._highest, values.max(axis=0))
            self._sums = self._sums + values.sum(axis=0)
            self._products = self._products + values.T @ values

    def signs(self) -> np.ndarray:
        """Return 1 for each channel of the mix, -1 for one that is turned over, 0 for one that is left out.

        Empty where nothing was added. A channel with values that are not finite is kept, to be refused.
        """
        if not self._count:
            return np.ones(0)
        with np.errstate(all="ignore"):
            covariances = self._products / self._count - np.outer(self._sums, self._sums) / self._count**2
            deviations = np.sqrt(np.diag(covariances).clip(min=0))
            loudest = int(np.argmax(np.nan_to_num(deviations)))
            silent = (self._highest - self._lowest) / 2 < SILENCE_LEVEL
            left_out = silent | (deviations < FAINT_SHARE * deviations[loudest])
            correlations = np.nan_to_num(covariances / np.outer(deviations, deviations))
        used = np.arange(len(deviations)) if left_out.all() else np.flatnonzero(~left_out)
        used = used[np.argsort(-np.nan_to_num(deviations[used]), kind="stable")]
        signs = np.zeros(len(deviations))
        for number, channel in enumerate(used):
            # The louder channel that it is most like, or the opposite of, tells how it is turned.
            like = max(used[:number], key=lambda other: abs(correlations[channel, other]), default=channel)
            correlation = correlations[channel, like]
            signs[channel] = (
                np.sign(correlation) * signs[like] if number and abs(correlation) > ALIKE else 1.0
            )
        return signs


def _mean(block: np.ndarray, signs: np.ndarray) -> np.ndarray:
    if block.shape[1] == 1:
        return block[:, 0].copy()
    with np.errstate(over="ignore"):  # an overflow gives infinity, which is refused later
        if (signs == 1).all():
            return block.mean(axis=1)
        used = signs != 0
        return (block[:, used] * signs[used].astype(np.float32)).mean(axis=1)


def _in_mapping(source: Mapping[str, Any], max_seconds: float) -> Samples | Path | bytes:
    """Find the recording in a mapping of the form that datasets or transformers' pipelines use."""
    for name in ("array", "raw"):
        if source.get(name) is not None:
            if source.get("sampling_rate") is None:
                raise BadAudio("samples without their rate: give 'sampling_rate' with them")
            return Samples(_columns(source[name]), _whole_rate(source["sampling_rate"]))
    if source and not {"array", "raw", "bytes", "path"} & set(source):
        keys = ", ".join(map(repr, list(source)[:5]))
        raise BadAudio(
            f"a mapping with {keys}, and neither 'array', 'bytes' nor 'path': give "
            "{'array': samples, 'sampling_rate': rate}"
        )
    content = source.get("bytes")
    if isinstance(content, str):
        raise BadAudio("text under 'bytes': give the content of the file, or its name under 'path'")
    return find_samples(source.get("path") or None if content is None else content, max_seconds)


def read_decoder(decoder: Any, max_seconds: float) -> Samples:
    """Return what a decoder of torchcodec gives, up to a little more than `max_seconds`. Raises BadAudio
    where it fails."""
    try:
        # A little more than the limit, so that a recording that is too long is noticed.
        decoded = decoder.get_samples_played_in_range(stop_seconds=max_seconds + 0.1)
    except Exception as error:  # a broken file can make a decoder raise anything
        raise BadAudio(f"unreadable: {first_line(error)}") from error
    return Samples(_columns(decoded.data), _whole_rate(decoded.sample_rate))


def _read(stream: Any) -> bytes:
    """Return the content of an open file from its beginning, wherever it has been read to."""
    content = bytearray()
    try:
        if hasattr(stream, "seekable") and stream.seekable():
            stream.seek(0)
        while len(content) <= LARGEST_STREAM and (piece := stream.read(BLOCK)):
            if not isinstance(piece, bytes):
                kind = type(piece).__name__
                raise BadAudio(f"an open file that gives {kind} instead of bytes: open it in binary mode")
            content += piece
    except BadAudio:
        raise
    except Exception as error:  # it may be closed, or anything with a method `read`
        raise BadAudio(f"cannot be read: {first_line(error)}") from error
    if len(content) > LARGEST_STREAM:
        raise BadAudio(f"larger than {LARGEST_STREAM >> 20} MiB")
    return bytes(content)


def _is_pair(source: Any) -> bool:
    """Return whether this is samples with their rate, in either order, as libraries return them."""
    if not isinstance(source, tuple) or len(source) != 2:
        return False
    first, second = (isinstance(member, Number) for member in source)
    return first != second


def _columns(source: Any) -> np.ndarray:
    """Return samples as (num_samples, num_channels). Raises BadAudio for what cannot be that."""
    array = _as_array(source)
    if array.dtype.kind not in "iuf":
        kind = f"{type(source).__name__} of {array.dtype}"
        raise BadAudio(f"no recording ({kind}): give a file, its content, or samples as numbers")
    if not array.size:
        return array.reshape(0, 1)
    if array.ndim == 1:
        return array[:, None]
    is_list = isinstance(source, list | tuple)  # recordings of a prompt may be nested in lists
    if array.ndim != 2 or is_list or (array.shape[0] == array.shape[1] > 1):
        form = "an array of (num_samples,) or (num_channels, num_samples)"
        raise BadAudio(f"{'lists' if is_list else 'samples'} of shape {array.shape}: give {form}")
    if min(array.shape) > MOST_CHANNELS:
        raise BadAudio(f"samples of shape {array.shape}: no recording has {min(array.shape)} channels")
    return array if array.shape[0] > array.shape[1] else array.T


def _as_array(source: Any) -> np.ndarray:
    import torch  # here, because it takes long, and programs that only look for files need none

    try:
        if isinstance(source, torch.Tensor):
            tensor = source.detach().cpu()
            return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16
        return np.asarray(source)
    except ValueError as error:
        if not isinstance(source, list | tuple):
            raise BadAudio(f"no recording ({type(source).__name__}): {first_line(error)}") from error
        kinds = " and ".join(dict.fromkeys(type(member).__name__ for member in source[:9]))
        raise BadAudio(
            f"no recording (a {type(source).__name__} of {kinds}): give samples, or (samples, rate) with the "
            "rate as a number"
        ) from error
    except Exception as error:  # any object may be given, and it may raise anything
        raise BadAudio(f"no recording ({type(source).__name__}): {first_line(error)}") from error


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return float32 in [-1, 1] of whole numbers, which fill the range of their type, or floats as they
    are."""
    with np.errstate(over="ignore"):  # an overflow gives infinity, which is refused later
        if values.dtype.kind == "f":
            return np.array(values, dtype=np.float32, order="C")  # a copy, that its owner cannot change
    scale = 2.0 ** (8 * values.dtype.itemsize - 1)
    middle = scale if values.dtype.kind == "u" else 0.0
    return ((values.astype(np.float64) - middle) / scale).astype(np.float32)


def _whole_rate(rate: Any) -> int:
    """Return a sampling rate as a whole number. Raises BadAudio for one that is none."""
    try:
        number = float(rate)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise BadAudio(f"a sampling rate of {rate!r}: give samples per second")
