"""Options of the Hugging Face reader: which dataset, and its columns.

They are not in the reader's own file, because jsonargparse executes the type-checking imports of the file
that defines an option's class. `perser prepare --help` would wait for the library `datasets`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HuggingFaceDataset:
    """Which dataset, and what its columns are called (huggingface only).

    Args:
        name: its name on the Hub, or a local folder (of `save_to_disk`, or of data files; a folder of bare
            recordings needs FFmpeg).
        config: its configuration, if it has several.
        split: which split of it, as in train or train+test.
        audio: the column of the recordings: audio, or paths relative to a local folder.
        emotions: the column of the labels: class labels, words (separated by `;` or `,`) or lists of either.
        listener: the column of who labeled; none: one listener, `intended`.
        speaker: the column of who spoke; none: speakers are unknown.
        session: the column of a session; none: one session.
        text: the column of what is said; none: no text.
        id: the column that identifies a recording, which has one row per listener; none: its file's name.
    """

    name: str = ""
    config: str | None = None
    split: str = "train"
    audio: str = "audio"
    emotions: str = "emotion"
    listener: str | None = None
    speaker: str | None = None
    session: str | None = None
    text: str | None = None
    id: str | None = None
