"""Which clips a command is given: files, folders of them, or lists of them.

What a model makes of clips, some at a time; a clip that it cannot use costs the others nothing.

A few recordings in memory, as encoding wants a corpus's: from files, or from samples.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from perser.audio import SAMPLE_RATE, BadAudio, audio_files, load_audio
from perser.errors import UserError
from perser.labels import Emotions, parse_emotions

LIST_SUFFIXES = (".txt", ".lst")


def clip_paths(given: Iterable[str | Path]) -> list[Path]:
    """The clips: each file as it is, a folder's recordings at any depth and sorted, and what a list (`.txt`
    or `.lst`, a path a line, relative to the list) names. Raises UserError for a folder without any."""
    found: list[Path] = []
    for path in map(Path, given):
        if _is_folder(path):
            inside = list(audio_files(path, "**/*"))
            if not inside:
                raise UserError(f"{path} is a folder without recordings: give another one, or files")
            found += inside
        elif path.suffix.lower() in LIST_SUFFIXES:
            lines = (line.strip() for line in _text(path).splitlines())
            found += [path.parent / line for line in lines if line]
        else:
            found.append(path)
    return found


def read_examples(path: Path) -> list[tuple[Path, Emotions]]:
    """The rows of a CSV file with the columns `path` (relative to the file) and `emotions` (several between
    `;`). Raises UserError that names the file and the line."""
    lines = csv.DictReader(_text(path).splitlines())
    examples = []
    try:
        missing = {"path", "emotions"} - set(lines.fieldnames or ())
        if missing:
            raise UserError(
                f"{path} has no column {' and '.join(sorted(missing))}: its first line names them"
            )
        for row in lines:
            emotions = parse_emotions(row["emotions"] or "")
            if not row["path"] or not emotions:
                raise UserError(f"{path}, line {lines.line_num}: a row without a path or without an emotion")
            examples.append((path.parent / row["path"].strip(), emotions))
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: {error}: mend the line") from error
    return examples


def parse_example(text: str) -> tuple[Path, Emotions]:
    """`a.wav=happy,excited`. Raises UserError for a text of another form."""
    path, equals, words = text.rpartition("=")
    emotions = parse_emotions(words.replace(",", ";"))
    if not equals or not path or not emotions:
        raise UserError(f"enroll: '{text}' is not of the form clip.wav=emotion or clip.wav=emotion,emotion")
    return Path(path), emotions


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long: whoever opens it says so
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


CLIPS_AT_ONCE = 32

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A clip that cannot be used, and why."""

    path: str
    reason: str


def stream_clips(
    clips: Sequence[Clip], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Iterator[Result | Failure]:
    """One result a clip, in order, as they are ready.

    Args:
        clips: Read some at a time.
        use: Gives one result for each of the waveforms (num_samples,), by name, in their order; raises
            UserError where one of them is too long, for example.
    """
    named = ((name_of(clip, number), clip) for number, clip in enumerate(clips, start=1))
    while batch := list(islice(named, CLIPS_AT_ONCE)):
        waveforms, failures = _read(batch)
        found = failures | _used(waveforms, use)
        yield from (found[name] for name, _ in batch)


def _read(batch: list[tuple[str, Clip]]) -> tuple[dict[str, Tensor], dict[str, Result | Failure]]:
    waveforms, failures = {}, {}
    for name, clip in batch:
        try:
            waveforms[name] = waveform_of(clip)
        except BadAudio as error:
            failures[name] = Failure(name, str(error))
    return waveforms, failures


def _used(
    waveforms: dict[str, Tensor], use: Callable[[dict[str, Tensor]], Sequence[Result]]
) -> Mapping[str, Result | Failure]:
    """All together, or each alone where one of them is refused."""
    if not waveforms:
        return {}
    try:
        return dict(zip(waveforms, use(waveforms), strict=True))
    except UserError as error:
        if len(waveforms) == 1:
            return {name: Failure(name, str(error)) for name in waveforms}
        alone = [_used({name: one}, use) for name, one in waveforms.items()]
        return {name: one for used in alone for name, one in used.items()}


Clip = str | PathLike[str] | np.ndarray | Tensor
"""A file of any kind that `perser.audio` reads, or samples at 16 kHz (num_samples,)."""


class Waveforms:
    """Recordings by name (`perser.encoders.feature_cache.Recordings`)."""

    fingerprint = ""  # of nothing that is kept on disk

    def __init__(self, waveforms: Mapping[str, Tensor]) -> None:
        self._waveforms = waveforms
        self.utterance_ids = list(waveforms)

    def duration(self, utterance_id: str) -> float:
        """Seconds."""
        return len(self._waveforms[utterance_id]) / SAMPLE_RATE

    def waveform(self, utterance_id: str) -> Tensor:
        """(num_samples,) at 16 kHz."""
        return self._waveforms[utterance_id]


def name_of(clip: Clip, number: int) -> str:
    """How a clip is called: its path as it was given, or `clip 3`, counted from 1, for samples."""
    return f"clip {number}" if isinstance(clip, np.ndarray | Tensor) else str(clip)


def waveform_of(clip: Clip) -> Tensor:
    """float32 (num_samples,) at 16 kHz. Raises BadAudio, with the reason, for what cannot be used."""
    if not isinstance(clip, np.ndarray | Tensor):
        return load_audio(Path(clip))
    samples = torch.as_tensor(clip).detach().cpu().float()
    if samples.ndim != 1 or not len(samples):
        raise BadAudio(f"samples of shape {tuple(samples.shape)}, give (num_samples,) at 16 kHz")
    if not samples.isfinite().all():
        raise BadAudio("not finite")
    return samples
