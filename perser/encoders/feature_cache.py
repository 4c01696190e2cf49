"""Cache the encoder outputs of a corpus on disk, so that each recording is encoded once.

    store = cached_features(corpus.recordings, encoder, "pooled", Path("cache"))
    store["1001_DFA_ANG_XX"]       # float32 tensor (L + 1, D)
    store.stack(utterance_ids)     # (n, L + 1, D)

Levels, all float32 (a second of speech is 50 frames):
    frontend     frames of the frozen front-end (T, F), read by adapting trunks and by whatever computes the
                 other levels; 100 kB/s for F = 512
    pooled       the mean over time of every hidden state (L + 1, D)
    pooled:<n>   the same for hidden states 0 to n (n + 1, D)
    layer:<n>    hidden state n, frame by frame (T, D); 0 is the input of layer 0, L the model's output
    windows:<n>  the mean of every hidden state over each n frames (ceil(T / n), L + 1, D); the last window is
                 shorter if T is no multiple of n

A store is a folder `<level>-<key>/` with `features.npy` (the rows of all utterances, one after the other) and
`index.json`. The key is a digest of the recordings and of the weights that the level depends on, so that
changed audio or a changed encoder never gets old features. Encoders that differ only above layer n share the
stores of `frontend`, `pooled:<n>` and `layer:<n>`.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from perser.encoders.encoder import SpeechEncoder, pad, window_means
from perser.encoders.parallel_build import build_in_parallel
from perser.errors import UserError, explain_damage
from perser.io.checksums import json_sha256
from perser.progress import progress_bar

Level = str
"""`frontend`, `pooled`, `pooled:<n>`, `layer:<n>` or `windows:<n>`."""

_FORMAT = 1  # part of every key; to be raised when the stored content changes

# Seconds of padded audio in a batch. More is not faster on a CPU, whose cache is full, but it is on a GPU.
_CPU_BATCH_SECONDS = 8.0

_GPU_BATCH_SECONDS = 400.0

_COPY_BYTES = 1 << 24


class AudioSource(Protocol):
    """What encoding needs of a corpus's audio (`perser.corpora.corpus.Recordings`)."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def utterance_ids(self) -> Sequence[str]: ...
    def duration(self, utterance_id: str) -> float: ...  # seconds
    def waveform(self, utterance_id: str) -> Tensor: ...  # (num_samples,) at 16 kHz


@runtime_checkable
class FileSource(Protocol):
    """An audio source that reads files, which may change after it was made."""

    def check_files(self) -> None:
        """Raise UserError if the files are no longer those of its fingerprint."""
        ...


class FeatureStore:
    """The features of one corpus on one level: the rows of all utterances, and which are whose."""

    def __init__(
        self,
        level: Level,
        rows: np.ndarray,
        spans: Iterable[tuple[str, int, int]],
        checksums: Sequence[int] | None = None,
    ) -> None:
        """Make a store of rows.

        Args:
            level: The level.
            rows: (num_rows, ...), float32.
            spans: Id, first row and number of rows of each utterance.
            checksums: CRC-32 of each utterance's rows, in the same order; None for no check. There is one per
                utterance, not one sha256 of the file, because a store of many GB is read piece by piece: each
                utterance is checked when it is first read.
        """
        self.level = level
        self._rows = rows
        self._spans = {utterance_id: (start, count) for utterance_id, start, count in spans}
        self._unchecked = dict(zip(self._spans, checksums or (), strict=False))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a store on disk, memory-mapped: only the rows that are asked for are read."""
        with explain_damage(f"the feature cache {folder}", "delete it"):
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            rows = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
            spans, checksums = index["spans"], index.get("crc32")
            if not (isinstance(rows, np.memmap) and rows.dtype == np.float32 and rows.ndim >= 2):
                raise ValueError("features.npy holds no table of float32")
            if not all(0 <= start <= start + count <= len(rows) for _, start, count in spans):
                raise ValueError("index.json names rows that are not there")
            if checksums is not None and len(checksums) != len(spans):
                raise ValueError("index.json has different numbers of checksums and utterances")
            return cls(index["level"], rows, spans, checksums)

    @classmethod
    def of(cls, level: Level, features: Mapping[str, np.ndarray]) -> Self:
        """Make a store in memory from the features of each utterance, by id."""
        starts = accumulate((len(rows) for rows in features.values()), initial=0)
        spans = [
            (name, start, len(rows)) for (name, rows), start in zip(features.items(), starts, strict=False)
        ]
        rows = np.concatenate(list(features.values())) if features else np.zeros((0,), dtype=np.float32)
        return cls(level, rows, spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._spans

    def __getitem__(self, utterance_id: str) -> Tensor:
        """Return a float32 copy: (T, F), (L + 1, D), (T, D) or (ceil(T / n), L + 1, D), by level.

        Raises KeyError for an unknown id, UserError for rows that differ from what was written (checked at
        the first read).
        """
        start, rows = self._spans[utterance_id]
        features = np.array(self._rows[start : start + rows])
        checksum = self._unchecked.get(utterance_id)
        if checksum is not None and zlib.crc32(features.data) != checksum:
            where = getattr(self._rows, "filename", "")
            raise UserError(f"the feature cache {where} is damaged ('{utterance_id}'): delete it")
        # After the check, so that damaged rows are refused every time.
        self._unchecked.pop(utterance_id, None)
        return torch.from_numpy(features)

    def num_rows(self, utterance_id: str) -> int:
        """Return the number of rows of `self[utterance_id]`, without reading them."""
        return self._spans[utterance_id][1]

    def stack(self, utterance_ids: Sequence[str]) -> Tensor:
        """Return the `pooled` features of several utterances, (n, L + 1, D).

        Raises ValueError on other levels, where utterances differ in length: use `pad` there.
        """
        if not self.level.startswith("pooled"):
            raise ValueError(f"'{self.level}' features differ in length: use perser.encoders.encoder.pad")
        return torch.stack([self[utterance_id] for utterance_id in utterance_ids])


def cached_features(
    recordings: AudioSource, encoder: SpeechEncoder, level: Level, cache: Path | None
) -> FeatureStore:
    """Return the features of these recordings on this level, computed unless the folder `cache` has them.

    The processes of a launch divide the utterances among themselves. A store appears by one rename, so a
    killed run leaves none that is incomplete. With `cache` None, it is in memory only. The encoder's adapters
    are not used. If the cache has the front-end's frames (level `frontend`), the other levels are computed
    from them, and no audio is read.

    Raises UserError for an unknown level, for an utterance whose features are not finite, or for recordings
    whose files have changed.
    """
    _check_level(level, encoder.num_layers)
    if isinstance(recordings, FileSource):
        recordings.check_files()
    encoder = encoder.without_adapters()
    if cache is None:
        return FeatureStore.of(
            level, dict(_encoded(recordings, encoder, level, _batches(recordings, encoder)))
        )
    folder = _folder(recordings, encoder, level, cache)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)

        front = _folder(recordings, encoder, "frontend", cache)
        frames = _open(front, "frontend", recordings) if front.is_dir() else None

        def write(number: int, count: int, shard: Path) -> None:
            _write(recordings, encoder, level, shard, slice(number, None, count), frames)

        build_in_parallel(folder, write, _join)
    return _open(folder, level, recordings)


def encode_clips(encoder: SpeechEncoder, waveforms: Sequence[Tensor], level: Level) -> list[Tensor]:
    """Return the features of waveforms (num_samples,), one tensor each, on the encoder's device.

    Raises UserError for an unknown level.
    """
    _check_level(level, encoder.num_layers)
    with torch.no_grad():
        return list(_from_frames(encoder, encoder.frontend(list(waveforms)), level))


def _check_level(level: Level, num_layers: int) -> None:
    if level in ("frontend", "pooled"):
        return
    kind, _, number = level.partition(":")
    known = number.isdecimal() and (
        (kind in ("layer", "pooled") and int(number) <= num_layers)
        or (kind == "windows" and int(number) >= 1)
    )
    if not known:
        raise UserError(
            f"unknown feature level '{level}': frontend, pooled, pooled:N or layer:N with N from 0 to "
            f"{num_layers}, or windows:N with N from 1"
        )


def _open(folder: Path, level: Level, recordings: AudioSource) -> FeatureStore:
    """Open a store on disk. Raises UserError where it lacks utterances."""
    store = FeatureStore.open(folder)
    if store.level != level or any(name not in store for name in recordings.utterance_ids):
        raise UserError(f"the feature cache {folder} is damaged (utterances are missing): delete it")
    return store


def _folder(recordings: AudioSource, encoder: SpeechEncoder, level: Level, cache: Path) -> Path:
    return cache / f"{level.replace(':', '-')}-{_key(recordings, encoder, level)}"


def _key(recordings: AudioSource, encoder: SpeechEncoder, level: Level) -> str:
    kind, _, number = level.partition(":")
    part: Literal["frontend", "all"] | int = "frontend" if kind == "frontend" else "all"
    if number and kind in ("layer", "pooled"):
        part = int(number)
    return json_sha256([_FORMAT, recordings.fingerprint, encoder.fingerprint(part), level])[:24]


def _write(
    recordings: AudioSource,
    encoder: SpeechEncoder,
    level: Level,
    folder: Path,
    chosen: slice,
    frames: FeatureStore | None,
) -> None:
    """Encode the utterances of the chosen batches and write the two files of a store into the folder.

    `frames`: what the front-end gave for them; None where that is not known.
    """
    row_shape: tuple[int, ...] = (encoder.front_size if level == "frontend" else encoder.hidden_size,)
    if level.startswith("windows:"):
        row_shape = (encoder.num_layers + 1, *row_shape)
    batches = _batches(recordings, encoder)[chosen]
    spans: list[tuple[str, int, int]] = []
    checksums: list[int] = []
    row = 0
    with (
        (folder / "features.npy").open("wb") as file,
        progress_bar(sum(map(len, batches)), f"encoding ({level})", unit="utt") as progress,
    ):
        _write_header(file, (row, *row_shape))
        for utterance_id, features in _encoded(recordings, encoder, level, batches, frames):
            file.write(features.data)
            spans.append((utterance_id, row, len(features)))
            checksums.append(zlib.crc32(features.data))
            row += len(features)
            progress.update()
        _write_header(file, (row, *row_shape))
    index = {"level": level, "encoder": encoder.name, "spans": spans, "crc32": checksums}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _join(shards: Sequence[Path], folder: Path) -> None:
    """Write one store with the rows of several, one after the other."""
    spans: list[tuple[str, int, int]] = []
    checksums: list[int] = []
    first = 0
    with (folder / "features.npy").open("wb") as file:
        for shard in shards:
            with (shard / "features.npy").open("rb") as source:
                np.lib.format.read_magic(source)
                (rows, *row_shape), *_ = np.lib.format.read_array_header_1_0(source)
                if not first:
                    _write_header(file, (0, *row_shape))
                shutil.copyfileobj(source, file, _COPY_BYTES)
            index = json.loads((shard / "index.json").read_text(encoding="utf-8"))
            spans += [(utterance_id, first + row, count) for utterance_id, row, count in index["spans"]]
            checksums += index["crc32"]
            first += rows
        _write_header(file, (first, *row_shape))
    index |= {"spans": spans, "crc32": checksums}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _encoded(
    recordings: AudioSource,
    encoder: SpeechEncoder,
    level: Level,
    batches: list[list[str]],
    frames: FeatureStore | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each utterance's id and features, float32 and contiguous; `frames` as in `_write`."""
    for utterance_ids, clips in _front_ends(recordings, encoder, batches, frames):
        with torch.inference_mode():
            encoded = _from_frames(encoder, clips, level)
        for utterance_id, on_device in zip(utterance_ids, encoded, strict=True):
            features = on_device.float().cpu().contiguous()
            if not torch.isfinite(features).all():
                raise UserError(f"the encoder '{encoder.name}' gives non-finite values for '{utterance_id}'")
            yield utterance_id, features.numpy()


def _front_ends(
    recordings: AudioSource, encoder: SpeechEncoder, batches: list[list[str]], frames: FeatureStore | None
) -> Iterator[tuple[list[str], list[Tensor]]]:
    """Yield each batch with the front-end's frames (T, F) of its utterances, on the encoder's device."""
    if frames is None:
        for batch, waveforms in _decoded(recordings, batches):
            with torch.inference_mode():
                clips = encoder.frontend(waveforms)
            yield batch, clips
        return
    device, dtype = encoder.model.device, encoder.model.dtype
    for batch in batches:
        yield batch, [frames[utterance_id].to(device, dtype) for utterance_id in batch]


def _from_frames(encoder: SpeechEncoder, clips: list[Tensor], level: Level) -> list[Tensor] | Tensor:
    """Return the features of a batch of front-end frames (T, F), one tensor (rows, ...) per utterance."""
    if level == "frontend":
        return clips
    frames, mask = pad(clips)
    if level == "pooled":
        return torch.stack(
            [encoder.pool(state, mask) for state in encoder.hidden_states(frames, mask)], dim=1
        )
    kind, _, number = level.partition(":")
    if kind == "windows":
        stacked = torch.stack(encoder.hidden_states(frames, mask), dim=2)  # (B, T, L + 1, D)
        return [
            window_means(state[: len(clip)], int(number)) for state, clip in zip(stacked, clips, strict=True)
        ]
    states = [encoder.embed(frames, mask)]
    if int(number):
        states += encoder.run_layers(states[0], mask, stop=int(number))
    if kind == "pooled":
        return torch.stack([encoder.pool(state, mask) for state in states], dim=1)
    return [state[: len(clip)] for state, clip in zip(states[-1], clips, strict=True)]


def _batches(recordings: AudioSource, encoder: SpeechEncoder) -> list[list[str]]:
    """Return all utterances in batches of similar length, of a size that suits the encoder's device.

    The longest come first, so that a batch that does not fit into memory fails at once, and the progress bar
    does not underestimate the remaining time.
    """
    lengths = {utterance_id: recordings.duration(utterance_id) for utterance_id in recordings.utterance_ids}
    seconds = _CPU_BATCH_SECONDS if encoder.model.device.type == "cpu" else _GPU_BATCH_SECONDS
    batches: list[list[str]] = []
    for utterance_id in sorted(lengths, key=lambda uid: -lengths[uid]):
        batch = batches[-1] if batches else []
        if batch and (len(batch) + 1) * lengths[batch[0]] <= seconds:
            batch.append(utterance_id)
        else:
            batches.append([utterance_id])
    return batches


def _decoded(recordings: AudioSource, batches: list[list[str]]) -> Iterator[tuple[list[str], list[Tensor]]]:
    """Yield each batch with its waveforms, while a thread decodes the next one."""

    def decode(batch: list[str]) -> list[Tensor]:
        return [recordings.waveform(utterance_id) for utterance_id in batch]

    def start(batch: list[str]) -> Callable[[], list[Tensor]]:
        try:
            return pool.submit(decode, batch).result
        except RuntimeError:  # no thread can be started, as when the main thread has ended
            return partial(decode, batch)

    with ThreadPoolExecutor(max_workers=1) as pool:
        # Nothing could be done meanwhile.
        coming: Callable[[], list[Tensor]] = partial(decode, batches[0] if batches else [])
        for batch, following in zip(batches, [*batches[1:], None], strict=False):
            waveforms = coming()
            if following is not None:
                coming = start(following)
            yield batch, waveforms


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the .npy header at the start. Numpy leaves room in it for the number of rows to grow."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})
