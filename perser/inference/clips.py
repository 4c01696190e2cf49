"""Clips to answer about: which ones a command is given, how they are read, and a few at a time.

A clip that cannot be used becomes a `Failure` and does not affect the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import numpy as np
from torch import Tensor

from perser.audio import SAMPLE_RATE, SHORTEST_SECONDS, BadAudio, load_audio
from perser.errors import ServiceUnavailable, UserError
from perser.inference.computing_thread import compute
from perser.io.folders import audio_files, did_you_mean
from perser.io.listed_paths import named_path, read_list
from perser.io.tables import read_table
from perser.labels import Emotions, LabeledFile, parse_emotions
from perser.samples import is_single

LIST_SUFFIXES = (".txt", ".lst")
"""Files that list clips, one path a line."""

CLIPS_AT_ONCE = 32
"""How many clips are read and encoded together."""

HINTS = 10
"""For how many clips that are missing a file with a similar name is looked for."""

Clip = (
    str
    | PathLike[str]
    | bytes
    | BinaryIO
    | np.ndarray
    | Tensor
    | Sequence[float]
    | Mapping[str, Any]
    | tuple[Any, ...]
)
"""A recording in a form that `perser.audio.load_audio` takes: a file, its content, samples, a decoder."""

Result = TypeVar("Result")
T = TypeVar("T")


class RunsJobs(Protocol):
    """Runs a job and returns what it returns (`perser.inference.computing_thread.compute`)."""

    def __call__(self, job: Callable[[], T], /) -> T: ...


@dataclass(frozen=True)
class Failure:
    """A clip that cannot be used, and why."""

    path: str
    reason: str


class Waveforms:
    """Recordings in memory, by name, in the form in which encoders read those of a corpus."""

    fingerprint = ""
    """Of the recordings in a cache on disk: these are in none."""

    def __init__(self, waveforms: Mapping[str, Tensor]) -> None:
        self._waveforms = waveforms
        self.utterance_ids = list(waveforms)

    def duration(self, utterance_id: str) -> float:
        """Return the length in seconds."""
        return len(self._waveforms[utterance_id]) / SAMPLE_RATE

    def waveform(self, utterance_id: str) -> Tensor:
        """Return the samples (num_samples,) at 16 kHz."""
        return self._waveforms[utterance_id]


def clip_paths(arguments: Iterable[str | Path]) -> list[Path]:
    """Return the clips that files, folders and lists stand for.

    A folder stands for its recordings at any depth, sorted (`perser.io.folders.audio_files`); a list (`.txt`
    or `.lst`) for the paths on its lines, which are relative to the list; any other file for itself. Raises
    UserError for a folder without recordings and for an empty name.
    """
    clips: list[Path] = []
    for argument in arguments:
        if not str(argument).strip():  # `Path("")` is the working folder
            raise UserError("a clip's name is empty: give a file, a folder or a list (. is this folder)")
        path = named_path(argument)
        if _is_folder(path):
            inside = list(audio_files(path, "**/*"))
            if not inside:
                raise UserError(f"{path} is a folder without recordings: give another one, or files")
            clips += inside
        elif path.suffix.lower() in LIST_SUFFIXES:
            clips += read_list(path)
        else:
            clips.append(path)
    return clips


def read_examples(path: Path, as_spelled: bool = False) -> list[LabeledFile]:
    """Read labeled clips from a table with the columns `path` (relative to the file) and `emotions`, which
    `perser.io.tables` describes, or from a folder with a folder for each emotion (`angry/a.wav`).

    Args:
        path: The table or the folder.
        as_spelled: Whether the words keep their capitals, so that two spellings of one label are noticed.

    Raises UserError that names the file and the line, or the folder.
    """
    if _is_folder(path):
        return _examples_in_folder(path)
    rows = list(read_table(path, required=("path", "emotions"), optional=()))
    clips = [path.parent / row.path() for row in rows]
    for row, clip in zip(rows, clips, strict=True):
        if not os.path.lexists(clip):
            raise row.error(f"{clip} is missing{did_you_mean(clip)}", "correct the path or remove the line")
    examples = [
        LabeledFile(clip, row.spelled() if as_spelled else row.emotions(), row.place)
        for row, clip in zip(rows, clips, strict=True)
    ]
    check_repeats([example.pair for example in examples], path, [row.line for row in rows])
    return examples


def _examples_in_folder(folder: Path) -> list[LabeledFile]:
    """Read labeled clips from `EMOTION/clip.wav`, at any depth below; `happy;sad` is a folder of both."""
    examples = []
    for clip in audio_files(folder, "**/*"):
        emotion, *inside = clip.relative_to(folder).parts
        emotions = parse_emotions(emotion)
        if not inside or not emotions:
            raise UserError(
                f"{clip} is in no folder of an emotion: put it in one, such as {folder / 'angry' / clip.name}"
            )
        examples.append(LabeledFile(clip, emotions, str(clip)))
    if not examples:
        raise UserError(
            f"{folder} is a folder without recordings: put them into folders of emotions, such as "
            f"{folder / 'angry'}, or give a table"
        )
    check_repeats([example.pair for example in examples])
    return examples


def check_repeats(
    examples: Sequence[tuple[Clip, Emotions]], table: Path | None = None, lines: Sequence[int] = ()
) -> None:
    """Raise UserError if a file is labeled twice. The message names the table and the lines, if given."""
    first: dict[str, int] = {}
    for number, (clip, emotions) in enumerate(examples):
        if isinstance(clip, str | PathLike):
            earlier = first.setdefault(os.path.realpath(clip), number)
            if earlier != number:
                words, others = (", ".join(labels) for labels in (emotions, examples[earlier][1]))
                where = f"{table}, lines {lines[earlier]} and {lines[number]}: " if table else ""
                raise UserError(
                    f"{where}{clip} is labeled twice, as {others} and as {words}: keep one of the two"
                )


def name_of(clip: Clip, number: int) -> str:
    """Return the name of a clip: its path as it was given, or `clip 3`, counted from 1, for another form."""
    return str(clip) if isinstance(clip, str | PathLike) else f"clip {number}"


def clips_in(audio: Clip | Iterable[Clip]) -> Iterable[Clip]:
    """Return several clips as they are, and a single one in a list."""
    several: Any = [audio] if is_single(audio) else audio  # a type cannot tell a list of numbers from clips
    return several


def waveforms_of(audio: Clip | Iterable[Clip], min_seconds: float = SHORTEST_SECONDS) -> list[Tensor]:
    """Return the samples of one clip or several, each float32 (num_samples,) at 16 kHz.

    Raises UserError, which names the clip, for one that cannot be used.
    """
    waveforms = []
    for number, clip in enumerate(clips_in(audio), start=1):
        try:
            waveforms.append(load_audio(clip, min_seconds))
        except BadAudio as error:
            hint = did_you_mean(Path(clip)) if isinstance(clip, str | PathLike) else ""
            raise UserError(f"cannot use {name_of(clip, number)}: {error}{hint}") from error
    return waveforms


def exit_after_failures(failures: Sequence[Failure]) -> None:
    """Name the clips that could not be used, on standard error, and end the program with 1 if there are any.

    For the first few, a file with a name like theirs is named too.
    """
    for number, failure in enumerate(failures):
        hint = did_you_mean(Path(failure.path)) if number < HINTS else ""
        print(f"perser: {failure.path}: {failure.reason}{hint}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def stream_clips(
    clips: Clip | Iterable[Clip],
    use: Callable[[dict[str, Tensor]], Sequence[Result]],
    run: RunsJobs = compute,
) -> Iterator[Result | Failure]:
    """Yield one result for each clip, in order, as soon as it is ready.

    Args:
        clips: The clips (or a single one), of which `CLIPS_AT_ONCE` are read at a time.
        use: Function of waveforms (num_samples,) by name that returns a result for each, in their order.
            Where it raises UserError (for a clip that is too long, for example), each clip of the batch is
            tried alone. `ServiceUnavailable` ends it: it concerns all clips.
        run: Function that runs the job of each batch.
    """
    named = ((name_of(clip, number), clip) for number, clip in enumerate(clips_in(clips), start=1))
    while batch := list(islice(named, CLIPS_AT_ONCE)):
        results = run(partial(_results, batch, use))
        yield from (results[name] for name, _ in batch)


def _results(
    batch: list[tuple[str, Clip]], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Mapping[str, Result | Failure]:
    waveforms, failures = _read(batch)
    return {**failures, **_use(waveforms, use)}


def _read(batch: list[tuple[str, Clip]]) -> tuple[dict[str, Tensor], dict[str, Failure]]:
    waveforms, failures = {}, {}
    for name, clip in batch:
        try:
            waveforms[name] = load_audio(clip)
        except BadAudio as error:
            failures[name] = Failure(name, str(error))
    return waveforms, failures


def _use(
    waveforms: dict[str, Tensor], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Mapping[str, Result | Failure]:
    """Use all clips together, or each alone where `use` refuses them."""
    if not waveforms:
        return {}
    try:
        return dict(zip(waveforms, use(waveforms), strict=True))
    except ServiceUnavailable:
        raise
    except UserError as error:
        if len(waveforms) == 1:
            return {name: Failure(name, str(error)) for name in waveforms}
        results: dict[str, Result | Failure] = {}
        for name, waveform in waveforms.items():
            results |= _use({name: waveform}, use)
        return results


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long: opening the file fails with the reason
        return False
