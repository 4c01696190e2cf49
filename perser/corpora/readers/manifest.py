"""Your own recordings, listed in a manifest (CSV, TSV or JSON) with one annotation per row.

path,speaker,listener,emotions
clips/hello.wav,anna,me,happy;excited

Further columns may be utterance_id, session and text. `perser/io/tables.py` says what a table may look like.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from perser.corpora.listing import About, Annotation, CorpusReader, Listing, Utterance
from perser.errors import UserError
from perser.io.tables import SUFFIXES, InputRow, read_table
from perser.labels import Emotions, parse_emotions

REQUIRED = ("path", "speaker", "listener", "emotions")

OPTIONAL = ("utterance_id", "session", "text")

_NUMBER = re.compile(r"[+-]?[\d.]+")

NAMES = ("manifest.csv", "manifest.jsonl", "manifest.tsv", "manifest.json")

ABOUT = About(
    what="your own recordings, labeled by whom you name",
    source="your own files",
    license="the user's own",
    axes=("listener", "speaker"),
    how_to_get="write a CSV, TSV or JSON table with path, speaker, listener and emotions; --root is it",
)


def read_manifest(root: Path, emotions: str | None = None) -> Listing:
    """Read a manifest. A recording with several listeners has several rows.

    Args:
        root: The table, or a folder with one `manifest.csv` or `manifest.jsonl`. Paths in it are
            relative to its folder.
        emotions: The emotion set in class order, separated by `;` or `,`. Without it, the words in the
            manifest, sorted.
    """
    file = _manifest_file(root)
    emotion_set = parse_emotions(emotions) if emotions else None
    rows = _Rows(file, emotion_set)
    for row in read_table(file, REQUIRED, OPTIONAL):
        rows.add(row)
    rows.check_repeats()
    return Listing(
        name="manifest",
        emotions=emotion_set or tuple(sorted({word for labels in rows.labels for word in labels})),
        audio_root=file.parent,
        utterances=rows.utterances,
        annotations=rows.annotations,
        source=file.name,
        license=ABOUT.license,
    )


class _Rows:
    """The content of a manifest's rows. Equal texts are stored once, because there may be millions of rows.

    Args:
        file: The manifest, for messages.
        known: The emotion set, if the user gave one.
    """

    def __init__(self, file: Path, known: Emotions | None) -> None:
        self.utterances: list[Utterance] = []
        self.annotations: list[Annotation] = []
        self.labels: dict[Emotions, Emotions] = {}
        """The different label sets."""
        self._file = file
        self._known = known
        self._first: dict[str, tuple[int, Utterance]] = {}
        self._listeners: dict[str, str] = {}
        self._lines = array("q")

    def add(self, row: InputRow) -> None:
        """Add a row.

        Raises UserError for a row with an unknown emotion, or one that contradicts an earlier row on the same
        recording.
        """
        utterance = _utterance(row)
        first_line, first = self._first.setdefault(utterance.utterance_id, (row.line, utterance))
        if first is utterance:
            self.utterances.append(utterance)
        elif first != utterance:
            raise UserError(
                f"{self._file}, lines {first_line} and {row.line}: {first.utterance_id} differs in path, "
                "speaker, session or text: make them agree, or give different utterance_ids"
            )
        listener = row.text("listener")
        listener = self._listeners.setdefault(listener, listener)
        self.annotations.append(Annotation(first.utterance_id, listener, self._labels(row)))
        self._lines.append(row.line)

    def _labels(self, row: InputRow) -> Emotions:
        labels = row.emotions()
        if labels not in self.labels:
            for word in labels:
                if self._known and word not in self._known:
                    raise row.error(f"unknown emotion '{word}'", f"the set given is {', '.join(self._known)}")
                if not self._known and _NUMBER.fullmatch(word):
                    raise row.error(f"the emotion '{word}' is a number", "write the word, or give --emotions")
        return self.labels.setdefault(labels, labels)

    def check_repeats(self) -> None:
        """Raise UserError if a listener labels a recording twice."""
        utterances = {row.utterance_id: index for index, row in enumerate(self.utterances)}
        listeners = {name: index for index, name in enumerate(self._listeners)}
        pairs = np.fromiter(  # one number for each pair of utterance and listener
            (
                utterances[annotation.utterance_id] * len(listeners) + listeners[annotation.listener]
                for annotation in self.annotations
            ),
            dtype=np.int64,
            count=len(self.annotations),
        )
        order = np.argsort(pairs, kind="stable")
        repeats = np.flatnonzero(pairs[order][1:] == pairs[order][:-1])
        if len(repeats):
            first, second = order[repeats[0]], order[repeats[0] + 1]
            repeated = self.annotations[first]
            raise UserError(
                f"{self._file}, lines {self._lines[first]} and {self._lines[second]}: {repeated.listener} "
                f"labels {repeated.utterance_id} twice: keep one of the two lines"
            )


def _utterance(row: InputRow) -> Utterance:
    path = row.path()
    return Utterance(
        utterance_id=row.text("utterance_id") or path,
        audio=path,
        speaker=row.text("speaker"),
        session=row.text("session") or "1",
        text=row.text("text"),
    )


def _manifest_file(root: Path) -> Path:
    if root.is_dir():
        files = [root / name for name in NAMES if (root / name).is_file()]
        if len(files) != 1:
            problem = "no manifest.csv or manifest.jsonl" if not files else "two manifests"
            raise UserError(f"{root} holds {problem}: give the file itself as --root")
        return files[0]
    if not root.is_file():
        raise UserError(f"--root {root} is not there: give the manifest (CSV, TSV or JSON) or its folder")
    if root.suffix.lower() not in SUFFIXES:
        raise UserError(f"{root} is neither .csv nor .jsonl, .tsv or .json: save it as one of these")
    return root


MANIFEST = CorpusReader(read_manifest, ABOUT)
