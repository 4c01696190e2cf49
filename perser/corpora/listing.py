"""What a person who looks for a corpus wants to know of it, beside its reader.

What a corpus reader found in the published files, before any audio was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from perser.errors import UserError
from perser.labels import Emotions


@dataclass(frozen=True)
class About:
    """What `perser prepare --list` says of a corpus; source and license stand on its card too.

    Args:
        what: whose speech, labeled by whom.
        source: where it is published.
        license: its terms, in a few words.
        axes: who a person can be: the listener, where listeners' own labels are known; the speaker, where
            speakers are.
        how_to_get: what to do with the source to have it on disk, and what to give as --root.
    """

    what: str
    source: str
    license: str
    axes: tuple[PersonAxis, ...]
    how_to_get: str

    def listing(self, name: str, emotions: Emotions, audio_root: Path) -> Listing:
        """An empty listing with this source and license, to be filled."""
        return Listing(name, emotions, audio_root, [], [], self.source, self.license)


def described(about: About) -> Callable[[Reader], Reader]:
    """Decorator of a reader: `perser prepare --list` finds its description there."""

    def attach(reader: Reader) -> Reader:
        reader.about = about
        return reader

    return attach


def about_reader(reader: Reader) -> About | None:
    """None for a reader that nobody described."""
    return getattr(reader, "about", None)


# fmt: off
AUDIO_SUFFIXES = frozenset((
    ".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".w64",
    ".wav", ".webm", ".wma",
))

# fmt: on
INTENDED = "intended"
"""The one listener of an acted corpus, who hears what the actor meant."""

UNKNOWN_SPEAKER = "unknown"
"""Speaks every utterance whose speaker the corpus does not name."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording. `audio` is relative to the corpus's audio root (or absolute)."""

    utterance_id: str
    audio: str
    speaker: str
    session: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one listener heard in one utterance."""

    utterance_id: str
    listener: str
    emotions: Emotions


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file, line or utterance that could not be used, by name, and why."""

    what: str
    reason: str


@dataclass
class Listing:
    """A corpus as its published files list it.

    Utterances without annotation and annotations without utterance may stand in it: writing the
    prepared corpus leaves them out by name.
    """

    name: str
    emotions: Emotions
    """The emotion set, in class order."""
    audio_root: Path
    utterances: list[Utterance]
    annotations: list[Annotation]
    source: str
    """Where the corpus is published."""
    license: str
    simulated: bool = False
    """Whether anything in it, speech or listeners, is simulated; `notes` says what."""
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """Counts of what the corpus has but these tasks do not use, such as {"other": 12}."""

    def drop(self, what: str) -> None:
        """Count one more thing that is not used."""
        self.dropped[what] = self.dropped.get(what, 0) + 1

    def add_intended(self, utterance: Utterance, emotion: str) -> None:
        """A recording, and the emotion that its actor meant."""
        self.utterances.append(utterance)
        self.annotations.append(Annotation(utterance.utterance_id, INTENDED, (emotion,)))


def audio_files(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """The audio files under a folder in sorted order, whatever their suffix; hidden files (macOS's
    `._*`) are passed over."""
    for path in sorted(folder.glob(pattern)):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            yield path


def check_layout(found: object, root: Path, corpus: str, expected: str) -> None:
    """Raises UserError unless something was `found` under `root`; `expected` says what the published
    corpus has there."""
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder: give the folder that {corpus} was unpacked to")
    if not found:
        raise UserError(
            f"{root} does not look like {corpus}: no {expected} in it; "
            "give the folder that directly holds the published files"
        )


PersonAxis = Literal["listener", "speaker"]

Reader = Callable[..., Listing]
"""Reads a corpus in its published layout."""
