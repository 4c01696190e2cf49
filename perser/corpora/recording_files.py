"""The audio files of a prepared corpus as they were prepared, by which files that changed are noticed.

recordings.arrow    one row a file: audio, size (bytes), modified (ns), sha256, content (`samples_sha256`)

Size and modification time are compared at each use. Only a file in which they differ is read and digested.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from perser.audio import BadAudio, load_audio
from perser.errors import UserError, explain_damage
from perser.io.checksums import json_sha256
from perser.io.files import write_bytes_atomic
from perser.io.terminal import counted
from perser.progress import progress_bar

TABLE = "recordings.arrow"

READ_AT_ONCE = 4096
"""Recordings that are given to the threads at a time."""

NAMED = 3
"""How many recordings a message names."""

AGAIN = "put the files back, or run `perser prepare` again, then draw episodes and train again"

_FINGERPRINT, _DIGEST = b"audio_fingerprint", b"sha256"

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """What is known of one file. `content` is empty where its samples were not digested."""

    size: int
    modified: int
    sha256: str
    content: str = ""


def samples_sha256(waveform: Any) -> str:
    """Return the sha256 of samples at 16 bits: the same for copies of a recording in any lossless format."""
    samples = np.rint(np.asarray(waveform, dtype=np.float32) * 32_767).clip(-32_768, 32_767)
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def digest_file(path: str | Path) -> RecordingFile:
    """Read a file and return its state. Raises OSError where it cannot be read."""
    with open(path, "rb") as stream:  # noqa: PTH123 (there may be a million of them)
        status = os.fstat(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return RecordingFile(status.st_size, status.st_mtime_ns, digest)


def map_files(
    function: Callable[[Item], Result], items: Iterable[Item], title: str, total: int
) -> list[Result]:
    """Apply a function that reads a file to each item, in threads, with a progress bar."""
    rest, results = iter(items), []
    pool = ThreadPoolExecutor(os.cpu_count())  # threads suffice: reading releases the interpreter's lock
    try:
        with progress_bar(total, title, unit="file") as progress:
            while chunk := list(islice(rest, READ_AT_ONCE)):  # the pool holds an object for each task
                for result in pool.map(function, chunk):
                    results.append(result)
                    progress.update()
    finally:
        pool.shutdown(cancel_futures=True)  # otherwise Ctrl-C would wait for every file
    return results


def audio_fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a corpus's audio from each utterance's id and the sha256 of its file."""
    return json_sha256([list(pair) for pair in digests])


def write_recording_files(folder: Path, files: Mapping[str, RecordingFile], fingerprint: str) -> None:
    """Write the table into the folder of a prepared corpus whose audio has this fingerprint."""
    columns = {
        "audio": pa.array(list(files), pa.string()),
        "size": pa.array([file.size for file in files.values()], pa.int64()),
        "modified": pa.array([file.modified for file in files.values()], pa.int64()),
        "sha256": pa.array([bytes.fromhex(file.sha256) for file in files.values()], pa.binary()),
        "content": pa.array([bytes.fromhex(file.content) for file in files.values()], pa.binary()),
    }
    metadata = {_FINGERPRINT: fingerprint.encode(), _DIGEST: _digest_of(files).encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    content = pa.BufferOutputStream()
    with pa.ipc.new_file(content, table.schema) as writer:
        writer.write_table(table)
    write_bytes_atomic(folder / TABLE, content.getvalue().to_pybytes())


def read_recording_files(folder: Path, fingerprint: str) -> dict[str, RecordingFile] | None:
    """Return what the table of a prepared corpus says, by the file's name; None where there is no table.

    Raises UserError where it is damaged, or of other recordings.
    """
    if not (folder / TABLE).is_file():
        return None
    with explain_damage(str(folder / TABLE), "run `perser prepare` again"):
        with pa.ipc.open_file(pa.BufferReader((folder / TABLE).read_bytes())) as reader:
            table = reader.read_all()
        table.validate(full=True)  # otherwise a damaged offset lets Arrow read beyond its memory
        names, *columns = (
            table[name].to_pylist() for name in ("audio", "size", "modified", "sha256", "content")
        )
        files = {
            name: RecordingFile(size, modified, sha256.hex(), content.hex())
            for name, size, modified, sha256, content in zip(names, *columns, strict=True)
        }
        metadata = table.schema.metadata or {}
        if (metadata.get(_FINGERPRINT), metadata.get(_DIGEST)) != (
            fingerprint.encode(),
            _digest_of(files).encode(),
        ):
            raise ValueError("it is not what was saved")
    return files


def _digest_of(files: Mapping[str, RecordingFile]) -> str:
    rows = (
        f"{name}\0{file.size} {file.modified} {file.sha256} {file.content}\n" for name, file in files.items()
    )
    return hashlib.sha256("".join(rows).encode()).hexdigest()


class RecordingFiles:
    """The audio files of a prepared corpus.

    Args:
        folder: of the prepared corpus.
        root: what the names of the files are relative to.
        audio: the file of each utterance, by id.
        fingerprint: `audio_fingerprint` of the corpus when it was prepared.
    """

    def __init__(self, folder: Path, root: Path, audio: Mapping[str, str], fingerprint: str) -> None:
        self._folder = folder
        self._root = root
        self._audio = audio
        self._fingerprint = fingerprint
        self._files: dict[str, RecordingFile] | None = None
        """None until they are first needed; empty where nothing is known of them."""

    def check(self, audio: str | None = None) -> None:
        """Raise UserError if a file, or the one named, has changed since the corpus was prepared.

        A file that is missing is no change: it is noticed when it is read, and its features may be cached.
        """
        known = self._known()
        suspects = [name for name in ([audio] if audio else known) if self._differs(name, known)]
        if not suspects:
            return
        read = dict(zip(suspects, self._digest(suspects), strict=True))
        self._refuse([name for name in suspects if _is_other(read[name], known[name])])
        for name, file in read.items():  # the same content, written anew or copied
            if file is not None:
                known[name] = RecordingFile(file.size, file.modified, file.sha256, known[name].content)
        if audio is None:
            self._save()

    def check_all(self) -> int:
        """Read every file and return their number.

        Raises UserError where one has changed, is missing or cannot be read.
        """
        known = self._known()
        names = list(dict.fromkeys(self._audio.values()))
        read = dict(zip(names, self._digest(names), strict=True))
        self._refuse(
            [name for name in names if name in known and _is_other(read[name], known[name])],
            [name for name in names if read[name] is None],
        )
        return len(names)

    def contents(self) -> dict[str, str]:
        """Return the digest of each file's samples (`samples_sha256`), by the file's name.

        A corpus of version 0.1.0 has none, so that its files are decoded once. A file that cannot be read has
        an empty digest.
        """
        known = self._known()
        names = [name for name in dict.fromkeys(self._audio.values()) if not _content(known.get(name))]
        if not names:
            return {name: file.content for name, file in known.items()}
        found = dict(zip(names, map_files(self._decode, names, "reading audio", len(names)), strict=True))
        for name in names:
            if name in known:
                file = known[name]
                known[name] = RecordingFile(file.size, file.modified, file.sha256, found[name])
        self._save()
        return found | {name: file.content for name, file in known.items() if file.content}

    def states(self) -> dict[str, RecordingFile]:
        """Return what is known of each file, with the digest of its samples, by the file's name."""
        self.contents()
        return dict(self._known())

    def _known(self) -> dict[str, RecordingFile]:
        if self._files is None:
            self._files = read_recording_files(self._folder, self._fingerprint)
        if self._files is None:
            self._files = self._first_digests()
            self._save()
        return self._files

    def _first_digests(self) -> dict[str, RecordingFile]:
        """Digest the files of a corpus without a table, as version 0.1.0 prepared it.

        Its card tells whether all are unchanged, but not which one is not. Nothing can be told while a file
        is missing. Raises UserError where some have changed.
        """
        names = list(dict.fromkeys(self._audio.values()))
        digested = zip(names, self._digest(names), strict=True)
        read = {name: file for name, file in digested if file is not None}
        if len(read) < len(names):
            return {}
        digests = ((utterance, read[name].sha256) for utterance, name in self._audio.items())
        if audio_fingerprint(digests) != self._fingerprint:
            raise UserError(
                f"the recordings of {self._folder} are not those that were prepared "
                f"(which of them changed is not known: version 0.1.0 kept no {TABLE}): {AGAIN}"
            )
        return read

    def _save(self) -> None:
        """Write the table, if there is one to write; a folder that cannot be written stays as it is."""
        if self._files:
            try:
                write_recording_files(self._folder, self._files, self._fingerprint)
            except (UserError, OSError, pa.ArrowException):
                return

    def _differs(self, name: str, known: Mapping[str, RecordingFile]) -> bool:
        """Return whether a file's size or modification time is another one than known."""
        file = known.get(name)
        if file is None:
            return False
        try:
            status = os.stat(os.path.join(self._root, name))  # noqa: PTH116, PTH118 (a fifth of the time)
        except (OSError, ValueError):
            return False
        return (status.st_size, status.st_mtime_ns) != (file.size, file.modified)

    def _digest(self, names: Sequence[str]) -> list[RecordingFile | None]:
        def digest(name: str) -> RecordingFile | None:
            try:
                return digest_file(self._root / name)
            except (OSError, ValueError):
                return None

        return map_files(digest, names, "reading audio", len(names))

    def _decode(self, name: str) -> str:
        try:
            return samples_sha256(load_audio(self._root / name, 0.0))
        except (BadAudio, OSError):
            return ""

    def _refuse(self, changed: Sequence[str], missing: Sequence[str] = ()) -> None:
        found = [_named(changed, "not what was prepared")] * bool(changed) + [
            _named(missing, "missing or cannot be read")
        ] * bool(missing)
        if found:
            total = len(set(self._audio.values()))
            raise UserError(
                f"{self._folder}: of its {counted(total, 'recording')}, {' and '.join(found)}: {AGAIN}"
            )


def _is_other(file: RecordingFile | None, known: RecordingFile) -> bool:
    return file is not None and file.sha256 != known.sha256


def _content(file: RecordingFile | None) -> str:
    return "" if file is None else file.content


def _named(names: Sequence[str], what: str) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {'is' if len(names) == 1 else 'are'} {what} ({', '.join(names[:NAMED])}{more})"
