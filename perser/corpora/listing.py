"""Corpus readers, and the listing that they return: the content of the published files without audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perser.corpora.listeners.truth import ListenerTruth
from perser.errors import UserError
from perser.labels import Emotions

INTENDED = "intended"
"""The only listener of an acted corpus: labels what the actor was asked to express."""

UNKNOWN_SPEAKER = "unknown"
"""The speaker of every utterance whose speaker the corpus does not name."""

UNKNOWN_LISTENER = "unknown"
"""The listener of an answer whose listener the corpus does not name. Where an utterance has several such
answers, their listeners are `unknown-1`, `unknown-2` and so on, and not the same ones as in the next."""

PersonAxis = Literal["listener", "speaker"]
"""Who a person is in a task: who labeled the recordings, or who speaks in them."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording. `audio` is a path relative to the corpus's audio root, or absolute."""

    utterance_id: str
    audio: str
    speaker: str
    session: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The emotions that one listener gave to one utterance."""

    utterance_id: str
    listener: str
    emotions: Emotions


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The name of a file, line or utterance that could not be used, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """One of the corpora that were joined into another (`perser.corpora.joined`).

    Args:
        name: What the names of its utterances and persons begin with, before a slash.
        namespace: See `Listing.namespace`.
        weight: How often its persons are drawn in training, all together, in comparison with other parts.
    """

    name: str
    namespace: str
    weight: float


def part_of(name: str) -> str:
    """Return the corpus that an utterance or a person of a joined corpus is from, by its name."""
    return name.partition("/")[0]


def grouped_by_part(parts: Iterable[str], utterances: Iterable[str]) -> dict[str, list[str]]:
    """Return the utterances of each of the corpora that were joined, by its name, where there are any."""
    groups: dict[str, list[str]] = {part: [] for part in parts}
    for utterance in utterances:
        groups[part_of(utterance)].append(utterance)
    return {part: own for part, own in groups.items() if own}


@dataclass
class Listing:
    """A corpus as its published files list it.

    It may hold utterances without annotation and annotations without utterance: they are left out, by name,
    when the prepared corpus is written.
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
    namespace: str = ""
    """Where names of persons are unique: corpora with two different namespaces have different persons. Empty
    where that is not known, as the user names them."""
    simulated: bool = False
    """Whether the speech or the listeners are simulated; `notes` says which."""
    truth: ListenerTruth | None = None
    """What simulated listeners are like."""
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """Counts of what the corpus has but these tasks do not use, such as {"other": 12}."""
    parts: list[CorpusPart] = field(default_factory=list)
    """The corpora that were joined into this one."""

    def leave_out(self, what: str, reason: str) -> None:
        """Note a file, line or utterance that cannot be used, and why."""
        self.left_out.append(LeftOut(what, reason))

    def drop(self, what: str) -> None:
        """Count one more item that these tasks do not use."""
        self.dropped[what] = self.dropped.get(what, 0) + 1

    def add_intended(self, utterance: Utterance, emotion: str) -> None:
        """Add a recording and the emotion that its actor was asked to express."""
        self.utterances.append(utterance)
        self.annotations.append(Annotation(utterance.utterance_id, INTENDED, (emotion,)))


@dataclass(frozen=True)
class About:
    """What `perser prepare --list` says of a corpus. The card has its source and license too.

    Args:
        what: Whose speech it is, and who labeled it.
        source: Where it is published.
        license: Its terms, in a few words.
        axes: Who a person can be: `listener` if each listener's own labels are known, `speaker` if speakers
            are.
        how_to_get: How to get it on disk from the source, and what to give as --root.
    """

    what: str
    source: str
    license: str
    axes: tuple[PersonAxis, ...]
    how_to_get: str

    def new_listing(self, name: str, emotions: Emotions, audio_root: Path) -> Listing:
        """Return an empty listing with this source and license, whose persons no other corpus has."""
        return Listing(name, emotions, audio_root, [], [], self.source, self.license, namespace=name)


@dataclass(frozen=True)
class CorpusReader:
    """A corpus that `perser prepare` can read: an entry of the group `perser.corpora`.

    Args:
        read: `(root: Path, ...) -> Listing`, or `(audio_out: Path, ...)` if it makes recordings instead of
            reading them. Its further parameters are the options that the corpus takes.
        about: The description for `perser prepare --list`; None for no description.
    """

    read: Callable[..., Listing]
    about: About | None = None

    @classmethod
    def of(cls, loaded: Any) -> CorpusReader:
        """Return what an entry point names as a reader; a plain function gets no description."""
        return loaded if isinstance(loaded, CorpusReader) else cls(loaded)


def is_unknown_listener(listener: str) -> bool:
    """Return whether the name stands for a listener that is not known (UNKNOWN_LISTENER)."""
    name, _, number = listener.partition("-")
    return name == UNKNOWN_LISTENER and (not number or number.isdecimal())


def check_layout(found: object, root: Path, corpus: str, expected: str) -> None:
    """Raise UserError if `found` is empty, or if `root` is not a folder.

    `expected` says, for the message, what the published corpus has in that folder.
    """
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder: give the folder that {corpus} was unpacked to")
    if not found:
        raise UserError(
            f"{root} does not look like {corpus}: no {expected} in it; "
            "give the folder that directly holds the published files"
        )


def check_listeners(listeners: str, corpus: str) -> None:
    """Raise UserError unless `listeners` is `responses` or `intended`, for a corpus that has both."""
    if listeners not in ("responses", INTENDED):
        raise UserError(f"--listeners {listeners} is unknown to {corpus}: give responses or {INTENDED}")
