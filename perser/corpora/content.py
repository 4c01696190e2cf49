"""Which recordings and persons a corpus has, so that a test corpus can be compared with what a model has met.

A trained model's folder has `trained_on.json`: the content of what it was trained and validated on. It holds
digests, no names. Recordings are known by their samples, so that a copy under another name, or in another
lossless format, is the same recording.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.corpora.listing import INTENDED, UNKNOWN_SPEAKER
from perser.errors import UserError, explain_damage
from perser.io.checksums import json_sha256
from perser.io.files import write_text_atomic

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus

TRAINED_ON = "trained_on.json"

FORMAT = "perser-trained-on-1"

KINDS = ("recordings", "speakers", "listeners")

DIGITS = 16
"""Hexadecimal digits of a digest that are kept: 64 bits."""

NO_ONE = {INTENDED, UNKNOWN_SPEAKER}
"""Names that stand for no person in particular."""


@dataclass(frozen=True)
class Content:
    """The recordings, speakers and listeners of a corpus or a part of it: their digests, each with its name.

    Args:
        corpus: the name of the corpus.
        namespace: where names of persons are unique (`perser.corpora.listing.Listing.namespace`).
        recordings, speakers, listeners: by digest; names are empty where the content was read from a file.
    """

    corpus: str
    namespace: str
    recordings: Mapping[str, str]
    speakers: Mapping[str, str]
    listeners: Mapping[str, str]

    @classmethod
    def of(cls, corpus: Corpus, utterances: Iterable[str], listeners: Iterable[str]) -> Content:
        """Return the content of a part of a corpus. Raises UserError for a recording that cannot be read."""
        contents, chosen = corpus.recordings.contents(), list(utterances)
        if unread := [name for name in chosen if not contents[name]]:
            raise UserError(
                f"{corpus.recordings.path(unread[0])} cannot be read: put it back or prepare it again"
            )
        return cls(
            corpus.name,
            corpus.card.get("namespace", ""),
            {contents[name][:DIGITS]: name for name in chosen},
            _persons(corpus.utterances[name].speaker for name in chosen),
            _persons(listeners),
        )

    @classmethod
    def of_all(cls, corpus: Corpus) -> Content:
        """Return the content of a whole corpus. Raises UserError for a recording that cannot be read."""
        return cls.of(corpus, corpus.utterances, {annotation.listener for annotation in corpus.annotations})

    @classmethod
    def of_persons(
        cls, corpus: str, namespace: str, speakers: Iterable[str], listeners: Iterable[str]
    ) -> Content:
        """Return the content of a corpus whose recordings are not known yet."""
        return cls(corpus, namespace, {}, _persons(speakers), _persons(listeners))

    def shared_with(self, other: Content) -> str:
        """Return what this content has in common with another, for a message; empty if nothing.

        The same name is taken for the same person, unless the two corpora are known to have different ones.
        """
        for kind in KINDS:
            if shared := self.shared(other, kind):
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                hint = " (if it is another person, give them another name)" if kind != "recordings" else ""
                return f"the {kind.removesuffix('s')} {shared[0]}{more}{hint}"
        return ""

    def shared(self, other: Content, kind: str) -> list[str]:
        """Return the names of what both contents have of one of `KINDS`, sorted; see `shared_with`."""
        if kind != "recordings" and self._other_persons(other):
            return []
        own = getattr(self, kind)
        return sorted(own[digest] for digest in own.keys() & getattr(other, kind).keys())

    def _other_persons(self, other: Content) -> bool:
        return bool(self.namespace and other.namespace and self.namespace != other.namespace)


def contents_by_part(corpus: Corpus, utterances: Iterable[str], listeners: Iterable[str]) -> list[Content]:
    """Return `Content.of` these utterances and listeners, for each part of a joined corpus with the names
    that it has by itself."""
    whole = Content.of(corpus, utterances, listeners)
    if not corpus.parts:
        return [whole]
    contents = []
    for part in corpus.parts:
        own = f"{part.name}/"
        recordings = {key: name for key, name in whole.recordings.items() if name.startswith(own)}
        persons = [
            [name.removeprefix(own) for name in names.values() if name.startswith(own)]
            for names in (whole.speakers, whole.listeners)
        ]
        if recordings:
            named = Content.of_persons(part.name, part.namespace, *persons)
            contents.append(replace(named, recordings=recordings))
    return contents


def without_repeats(contents: Iterable[Content]) -> list[Content]:
    """Return the contents, each once."""
    return list({json.dumps(_to_json(content)): content for content in contents}.values())


def save_contents(contents: Sequence[Content], folder: Path) -> None:
    """Write what a model was trained on into its folder: digests without names."""
    parts = list(map(_to_json, contents))
    saved = {"format": FORMAT, "sha256": json_sha256(parts), "parts": parts}
    write_text_atomic(folder / TRAINED_ON, json.dumps(saved) + "\n")


def load_contents(model: str | Path) -> tuple[Content, ...] | None:
    """Return what a model was trained on, None where that is not known.

    Args:
        model: its folder, a folder in that (the encoder, the last weights), or any other name of a model.

    Raises UserError where the file is damaged.
    """
    folder = Path(model)
    files = [place / TRAINED_ON for place in (folder, folder.parent) if folder.is_dir()]
    file = next(filter(Path.is_file, files), None)
    if file is None:
        return None
    with explain_damage(str(file), "get the model again, or train it again"):
        saved = json.loads(file.read_text(encoding="utf-8"))
        if saved["format"] != FORMAT:
            raise ValueError("it is of another version")
        if json_sha256(saved["parts"]) != saved["sha256"]:
            raise ValueError("it is not what was saved")
        return tuple(_content(part) for part in saved["parts"])


def _to_json(content: Content) -> dict[str, Any]:
    digests = {kind: sorted(getattr(content, kind)) for kind in KINDS}
    return {"corpus": content.corpus, "namespace": content.namespace} | digests


def _content(part: Mapping[str, Any]) -> Content:
    return Content(part["corpus"], part["namespace"], *(dict.fromkeys(part[kind], "") for kind in KINDS))


def _persons(names: Iterable[str]) -> dict[str, str]:
    return {hashlib.sha256(name.encode()).hexdigest()[:DIGITS]: name for name in sorted(set(names) - NO_ONE)}
