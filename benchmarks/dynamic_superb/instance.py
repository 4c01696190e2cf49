"""An instance of Dynamic-SUPERB: its instance.json, and rows of recordings, an instruction and a label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.dynamic_superb.options import options_of
from benchmarks.dynamic_superb.rows import Rows, read_rows
from perser.audio import BadAudio, at_sample_rate, load_audio
from perser.errors import UserError


@dataclass(frozen=True)
class Question:
    """What is asked about one item's recordings, and what is right."""

    file: str
    instruction: str
    label: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Instance:
    """One task on one data set.

    Args:
        questions: One a row.
        rows: Of the same order, with the recordings.
        audio: The columns with recordings.
    """

    name: str
    metrics: tuple[str, ...]
    version: str
    questions: tuple[Question, ...]
    rows: Rows
    audio: tuple[str, ...]

    @property
    def has_options(self) -> bool:
        return all(question.options for question in self.questions)

    def clips(self, number: int) -> list[Tensor]:
        """A row's recordings in the order of their columns, each float32 (num_samples,) at 16 kHz.

        Raises BadAudio for one that cannot be used.
        """
        row = self.rows[number]
        return [waveform(row[column]) for column in self.audio]


def read_instance(folder: Path, limit: int | None = None) -> Instance:
    """The instance of a folder with an instance.json, of its first `limit` rows.

    Raises UserError for a folder that is none, data without the columns, and labels that are no text.
    """
    about = _about(folder)
    metrics = about.get("metrics") or []
    version = str(about.get("version") or "")
    rows = read_rows(folder, str(about.get("path") or ""), version)
    if not len(rows):
        raise UserError(f"{folder}: the instance has no rows")
    rows = rows[:limit] if isinstance(rows, list) else rows.select(range(len(rows))[:limit])
    columns = list(rows[0]) if isinstance(rows, list) else rows.column_names
    audio = _numbered("audio", columns)
    if missing := [
        name for name in ("audio", "file", "instruction", "label") if not _numbered(name, columns)
    ]:
        raise UserError(f"{folder}: its data has no column '{missing[0]}', only {', '.join(columns)}")
    texts = _numbered("text", columns)
    words = {name: _texts(rows, name, folder) for name in ("file", "instruction", *texts, "label")}
    questions = [
        Question(file, "\n".join([instruction, *texts]), label.strip(), options_of(instruction))
        for file, instruction, *texts, label in zip(*words.values(), strict=True)
    ]
    name = str(about.get("name") or folder.resolve().name)
    return Instance(name, tuple(map(str, metrics)), version, tuple(questions), rows, audio)


def waveform(stored: Any) -> Tensor:
    """A recording as `datasets` stores it, or samples with their rate, to float32 (num_samples,) at 16 kHz.

    Raises BadAudio for one that cannot be used.
    """
    if isinstance(stored, str):
        return load_audio(Path(stored), min_seconds=0.0)
    if not isinstance(stored, Mapping):
        raise BadAudio("missing")
    if stored.get("array") is not None:
        samples = torch.as_tensor(stored["array"], dtype=torch.float32)
        if samples.ndim != 1 or not len(samples) or not samples.isfinite().all():
            raise BadAudio(f"not usable: samples of shape {tuple(samples.shape)}, or not finite")
        return at_sample_rate(samples, int(stored["sampling_rate"]))
    content = stored.get("bytes")
    if content is None and not stored.get("path"):
        raise BadAudio("missing")
    return load_audio(Path(stored["path"]) if content is None else content, min_seconds=0.0)


def _about(folder: Path) -> dict[str, Any]:
    file = folder / "instance.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder} is no instance: cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    metrics = about.get("metrics") or [] if isinstance(about, dict) else None
    if not isinstance(metrics, list):
        raise UserError(f"{file}: give name, path and version, and metrics as a list")
    return about


def _numbered(name: str, columns: list[str]) -> tuple[str, ...]:
    """`audio` (or `audio1`), `audio2`, `audio3`, ... as far as there are such columns."""
    first = [one for one in (name, f"{name}1") if one in columns][:1]
    more = takewhile(columns.__contains__, (f"{name}{number}" for number in count(2)))
    return (*first, *more) if first else ()


def _texts(rows: Rows, column: str, folder: Path) -> list[str]:
    values = [row[column] for row in rows] if isinstance(rows, list) else rows[column]
    for number, value in enumerate(values):
        if not isinstance(value, str | int | float):
            raise UserError(f"{folder}: row {number}: its {column} is no text")
    return [str(value) for value in values]
