"""A prepared corpus: write it from a reader's listing, and load it. It is a folder of two tables and a card:

utterances/          utterance_id, audio, speaker, session, duration (seconds), text
annotations/         utterance_id, listener, emotions (list of words)
recordings.arrow     the state of each audio file, by which a changed one is noticed
truth.json           what simulated listeners are like; not there for real ones
corpus.json          the card: emotion set, source, license, counts, what was left out, fingerprints
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from perser.audio import SAMPLE_RATE, BadAudio, load_audio
from perser.corpora.listeners.truth import TRUTH
from perser.corpora.listing import Annotation, CorpusPart, LeftOut, Listing, Utterance
from perser.corpora.prepared_tables import read_annotations, read_utterances, write_tables
from perser.corpora.recording_files import (
    RecordingFile,
    RecordingFiles,
    audio_fingerprint,
    digest_file,
    map_files,
    samples_sha256,
    write_recording_files,
)
from perser.errors import UserError, explain_damage, is_unicode, one_line
from perser.io.checksums import verify_checksums, write_checksums
from perser.io.files import atomic_folder, check_name
from perser.io.folders import did_you_mean
from perser.labels import EmotionSet
from perser.samples import MISSING

CARD = "corpus.json"

FORMAT = "perser-corpus-1"

CARD_FIELDS = {
    **dict.fromkeys(("name", "source", "license", "audio_root", "audio_fingerprint", "fingerprint"), str),
    **dict.fromkeys(("emotions", "notes", "left_out"), list),
    **dict.fromkeys(("counts", "dropped"), dict),
    "simulated": bool,
}
"""The fields of a card that code reads, and their types."""

MAX_LEFT_OUT = 0.05
"""A corpus with more than this share of bad recordings is taken for damaged."""

ROWS_AT_ONCE = 10_000
"""Rows that are digested at a time."""


class Recordings:
    """The audio of a corpus, without labels, so that code which gets it cannot read a label.

    Args:
        folder: The prepared corpus.
        audio_root: What the names of the audio files are relative to.
        audio: The audio file of each utterance, by id.
        durations: Seconds, by id.
        fingerprint: Digest of all audio files when they were prepared.
    """

    def __init__(
        self,
        folder: Path,
        audio_root: Path,
        audio: dict[str, str],
        durations: dict[str, float],
        fingerprint: str,
    ) -> None:
        self.files = RecordingFiles(folder, audio_root, audio, fingerprint)
        self.utterance_ids = list(audio)
        self.fingerprint = fingerprint
        self._audio_root = audio_root
        self._audio = audio
        self._durations = durations

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def check_files(self) -> None:
        """Raise UserError if an audio file has changed since the corpus was prepared."""
        self.files.check()

    def contents(self) -> dict[str, str]:
        """Return a digest of each utterance's samples, by id; empty for a file that cannot be read."""
        digests = self.files.contents()
        return {utterance_id: digests[audio] for utterance_id, audio in self._audio.items()}

    def path(self, utterance_id: str) -> Path:
        return self._audio_root / self._audio[utterance_id]

    def duration(self, utterance_id: str) -> float:
        """Seconds."""
        return self._durations[utterance_id]

    def waveform(self, utterance_id: str) -> torch.Tensor:
        """Return 16 kHz mono, float32 (num_samples,).

        Raises UserError if the file is now missing, bad, or not what was prepared.
        """
        path = self.path(utterance_id)
        self.files.check(self._audio[utterance_id])
        try:
            return load_audio(path, min_seconds=0.0)
        except BadAudio as error:
            raise UserError(f"{path}: {error}; put the file back or run `perser prepare` again") from error


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus, loaded."""

    folder: Path
    card: dict[str, Any]
    emotions: EmotionSet
    recordings: Recordings
    utterances: dict[str, Utterance]
    annotations: Sequence[Annotation]

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def simulated(self) -> bool:
        """Whether its speech or its listeners are simulated."""
        return self.card["simulated"]

    @property
    def parts(self) -> list[CorpusPart]:
        """The corpora that were joined into this one; none for any other corpus."""
        return [CorpusPart(**part) for part in self.card.get("parts", [])]

    @property
    def fingerprint(self) -> str:
        """Changes with any recording, annotation, speaker, session, text or emotion."""
        return self.card["fingerprint"]

    @classmethod
    def load(cls, folder: Path, *, check_files: bool = True) -> Corpus:
        """Load a prepared corpus. Raises UserError if it is damaged, or not prepared by this version.

        Also, with `check_files`, if a recording has changed since it was prepared: features, models and
        results of the old one would be taken for those of the new one.
        """
        folder = Path(folder)
        card = _read_card(folder)
        verify_checksums(folder, "run `perser prepare` again")
        with explain_damage(str(folder), "run `perser prepare` again"):
            rows, seconds = read_utterances(folder)
            utterances = {row.utterance_id: row for row in rows}
            annotations = read_annotations(folder, utterances)
            if len(utterances) != len(rows) or len(annotations) != card["counts"]["annotations"]:
                raise ValueError("its tables are not those that its card counts")
            recordings = Recordings(
                folder,
                folder / card["audio_root"],
                {row.utterance_id: row.audio for row in rows},
                dict(zip(utterances, seconds, strict=True)),
                card["audio_fingerprint"],
            )
            emotions = EmotionSet(tuple(card["emotions"]))
            _ = [CorpusPart(**part) for part in card.get("parts", [])]
        if check_files:
            recordings.check_files()
        return cls(folder, card, emotions, recordings, utterances, annotations)


def write_corpus(
    listing: Listing, out: Path, *, allow_skips: bool = False, min_seconds: float = 0.1
) -> Corpus:
    """Check every recording of a listing, write the prepared corpus to `out` in one step, and load it.

    Raises UserError as `fill_corpus` does, or if `out` holds something other than a prepared corpus.
    """
    with atomic_folder(out, CARD) as folder:
        fill_corpus(listing, folder, allow_skips=allow_skips, min_seconds=min_seconds)
    return Corpus.load(out)


def fill_corpus(
    listing: Listing, folder: Path, *, allow_skips: bool = False, min_seconds: float = 0.1
) -> None:
    """Check every recording of a listing and write tables and card into an existing folder.

    Bad recordings, utterances without annotation and annotations without recording are left out by name.
    Audio inside the folder is named relative to it. Raises UserError if nothing is left, if more than 5% of
    the recordings are bad (unless `allow_skips`), for an annotation with an unknown emotion, or where only
    one emotion occurs.
    """
    if len(listing.emotions) == 1:
        raise UserError(
            f"{listing.source} has one label only, '{listing.emotions[0]}': name all emotions that could be "
            "given with --emotions"
        )
    left_out, dropped = list(listing.left_out), dict(listing.dropped)
    utterances = _utterances_by_id(listing.utterances, left_out)
    annotations = _matching(listing.annotations, utterances, left_out, dropped)
    EmotionSet(tuple(listing.emotions)).multi_hot(list({annotation.emotions for annotation in annotations}))
    annotated = {annotation.utterance_id for annotation in annotations}
    left_out += [LeftOut(name, "nobody annotated it") for name in utterances if name not in annotated]
    listed = [row for name, row in utterances.items() if name in annotated]

    checks = _check_recordings(listed, listing.audio_root, min_seconds)
    bad = [check for check in checks if isinstance(check, LeftOut)]
    left_out += bad
    left_out = [LeftOut(one_line(item.what), one_line(item.reason)) for item in left_out]
    _refuse_if_too_few(listing, listed, bad, left_out, allow_skips)
    good = {
        row.utterance_id: (row, check)
        for row, check in zip(listed, checks, strict=True)
        if isinstance(check, CheckedRecording)
    }
    annotations = [annotation for annotation in annotations if annotation.utterance_id in good]
    write_checked(replace(listing, annotations=annotations, left_out=left_out, dropped=dropped), folder, good)


def write_checked(
    listing: Listing, folder: Path, good: Mapping[str, tuple[Utterance, CheckedRecording]]
) -> None:
    """Write the tables and the card of a listing into an existing folder.

    `good` has the utterances by id, sorted, each with what is known of its recording. All of the listing's
    annotations are of these.
    """
    rows = ((row, recording.seconds) for row, recording in good.values())
    write_tables(folder, rows, listing.annotations)
    if listing.truth is not None:
        listing.truth.save(folder)
    write_checksums(folder, ("utterances/*", "annotations/*", TRUTH))
    card = _card(listing, folder, good)
    files = {row.audio: recording.file for row, recording in good.values()}
    write_recording_files(folder, files, card["audio_fingerprint"])
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    # Names of files may be invalid Unicode. What UTF-8 cannot encode is written as JSON's own escape
    # sequence.
    (folder / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class CheckedRecording:
    """The duration of a good file, and its state."""

    seconds: float
    file: RecordingFile


def _utterances_by_id(utterances: Iterable[Utterance], left_out: list[LeftOut]) -> dict[str, Utterance]:
    """Return the utterances by id, sorted. If two have the same id, the second is left out."""
    by_id: dict[str, Utterance] = {}
    for row in utterances:
        if not all(map(is_unicode, (getattr(row, name) for name in row.__slots__))):
            left_out.append(LeftOut(row.audio, "its name or text is not Unicode: rename it"))
            continue
        first = by_id.setdefault(row.utterance_id, row)
        if first is not row:
            left_out.append(LeftOut(row.audio, f"its id {row.utterance_id} is that of {first.audio}"))
    return dict(sorted(by_id.items()))


def _matching(
    annotations: Iterable[Annotation],
    utterances: dict[str, Utterance],
    left_out: list[LeftOut],
    dropped: dict[str, int],
) -> list[Annotation]:
    """Return the annotations of these utterances, sorted. Of a listener's repeats, the first counts."""
    first: dict[tuple[str, str], Annotation] = {}
    missing: dict[str, None] = {}  # used as a set that keeps its order
    for annotation in annotations:
        key = (annotation.utterance_id, annotation.listener)
        if annotation.utterance_id not in utterances:
            missing[annotation.utterance_id] = None
        elif first.setdefault(key, annotation) is not annotation:
            dropped["repeated annotations"] = dropped.get("repeated annotations", 0) + 1
    left_out += [LeftOut(name, "annotated, but there is no recording") for name in missing]
    return [first[key] for key in sorted(first)]


def _check_recordings(
    utterances: list[Utterance], root: Path, min_seconds: float
) -> list[CheckedRecording | LeftOut]:
    """Decode each recording and return, in order, its duration and digest, or the reason why it is bad."""

    def check(audio: str) -> CheckedRecording | LeftOut:
        path = root / audio
        try:
            waveform = load_audio(path, min_seconds)
            file = replace(digest_file(path), content=samples_sha256(waveform))
            return CheckedRecording(len(waveform) / SAMPLE_RATE, file)
        except (BadAudio, OSError) as error:
            return LeftOut(audio, str(error))

    files = list(dict.fromkeys(row.audio for row in utterances))
    results = dict(zip(files, map_files(check, files, "checking audio", len(files)), strict=True))
    return [results[row.audio] for row in utterances]


def _refuse_if_too_few(
    listing: Listing,
    listed: list[Utterance],
    bad: list[LeftOut],
    left_out: list[LeftOut],
    allow_skips: bool,
) -> None:
    if len(bad) == len(listed):
        reason = _example(left_out[-1], listing.audio_root) if left_out else "no utterance at all"
        raise UserError(f"nothing of {listing.name} can be used, for example {reason}")
    if len(bad) > MAX_LEFT_OUT * len(listed) and not allow_skips:
        examples = "; ".join(_example(item, listing.audio_root) for item in bad[:3])
        raise UserError(
            f"{len(bad)} of {len(listed)} recordings are bad ({examples}{'; ...' if len(bad) > 3 else ''}): "
            "repair them, or pass --allow_skips to leave them out"
        )


def _example(item: LeftOut, root: Path) -> str:
    """Return what was left out and why, and a file that may have been meant where it is missing."""
    return f"{item.what}: {item.reason}{did_you_mean(root / item.what) if item.reason == MISSING else ''}"


def _card(
    listing: Listing, folder: Path, good: Mapping[str, tuple[Utterance, CheckedRecording]]
) -> dict[str, Any]:
    utterances = [row for row, _ in good.values()]
    audio_root = listing.audio_root.absolute()
    inside = audio_root.is_relative_to(folder.absolute())
    digest = audio_fingerprint((name, recording.file.sha256) for name, (_, recording) in good.items())
    fingerprint = _rows_sha256(
        [digest, listing.emotions, *([part.weight for part in listing.parts],) * bool(listing.parts)],
        ([row.utterance_id, row.speaker, row.session, row.text] for row in utterances),
        ([row.utterance_id, row.listener, row.emotions] for row in listing.annotations),
    )
    card = {
        "format": FORMAT,
        "name": listing.name,
        "emotions": list(listing.emotions),
        "source": listing.source,
        "license": listing.license,
        "namespace": listing.namespace,
        "simulated": listing.simulated,
        "notes": listing.notes,
        "audio_root": (audio_root.relative_to(folder.absolute()) if inside else audio_root).as_posix(),
        "counts": {
            "utterances": len(utterances),
            "speakers": len({row.speaker for row in utterances}),
            "sessions": len({row.session for row in utterances}),
            "listeners": len({annotation.listener for annotation in listing.annotations}),
            "annotations": len(listing.annotations),
            "left_out": len(listing.left_out),
        },
        "hours": round(sum(recording.seconds for _, recording in good.values()) / 3600, 4),
        "left_out": [[item.what, item.reason] for item in listing.left_out],
        "dropped": listing.dropped,
        "audio_fingerprint": digest,
        "fingerprint": fingerprint,
    }
    return card | ({"parts": list(map(asdict, listing.parts))} if listing.parts else {})


def _rows_sha256(head: Sequence[object], *tables: Iterable[Sequence[object]]) -> str:
    """Return `json_sha256([*head, *tables])` without holding all rows in memory."""
    digest = hashlib.sha256(json.dumps(head).removesuffix("]").encode())
    for table in tables:
        rows = iter(table)
        opening = ", ["
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            digest.update((opening + json.dumps(chunk)[1:-1]).encode())
            opening = ", "
        digest.update(b"]" if opening == ", " else b", []")
    digest.update(b"]")
    return digest.hexdigest()


def _read_card(folder: Path) -> dict[str, Any]:
    check_name(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except OSError:
        lacking = f"(no {CARD}){did_you_mean(folder)}"
        raise UserError(f"{folder} is not a prepared corpus {lacking}: run `perser prepare`") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is damaged ({error}): run `perser prepare` again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{folder} was prepared by another version: run `perser prepare` again")
    if "licence" in card:  # the spelling of version 0.1.0
        card["license"] = card.pop("licence")
    if wrong := [name for name, kind in CARD_FIELDS.items() if not isinstance(card.get(name), kind)]:
        raise UserError(f"{folder / CARD} is damaged ({wrong[0]}): run `perser prepare` again")
    return card
