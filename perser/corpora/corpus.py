"""A prepared corpus: two `datasets` tables and a card in one folder. Writing it from a reader's listing,
and loading it.

    utterances/    utterance_id, audio, speaker, session, duration (seconds), text
    annotations/   utterance_id, listener, emotions (list of words)
    corpus.json    the card: emotion set, source, license, counts, what was left out, fingerprints
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perser.audio import SAMPLE_RATE, BadAudio, load_audio
from perser.corpora.listing import Annotation, LeftOut, Listing, Utterance
from perser.corpora.prepared_tables import read_annotations, read_utterances, write_tables
from perser.errors import UserError, explain_damage, one_line
from perser.io.checksums import verify_checksums, write_checksums
from perser.io.files import atomic_folder
from perser.labels import EmotionSet

CARD = "corpus.json"

FORMAT = "perser-corpus-1"

CARD_FIELDS = {
    **dict.fromkeys(("name", "source", "license", "audio_root", "audio_fingerprint", "fingerprint"), str),
    **dict.fromkeys(("emotions", "notes", "left_out"), list),
    **dict.fromkeys(("counts", "dropped"), dict),
    "simulated": bool,
}
"""What code reads of a card, and the kind of each."""

MAX_LEFT_OUT = 0.05
"""Share of bad recordings above which a corpus is taken for damaged."""

CHECKED_AT_ONCE = 4096

ROWS_AT_ONCE = 10_000


class Recordings:
    """The audio half of a corpus: no label is in it, so nothing that is given it can look at one."""

    def __init__(
        self, audio_root: Path, audio: dict[str, str], durations: dict[str, float], fingerprint: str
    ) -> None:
        self.fingerprint = fingerprint
        self.utterance_ids = list(audio)
        self._audio_root = audio_root
        self._audio = audio
        self._durations = durations

    def __len__(self) -> int:
        return len(self.utterance_ids)

    def path(self, utterance_id: str) -> Path:
        return self._audio_root / self._audio[utterance_id]

    def duration(self, utterance_id: str) -> float:
        """Seconds."""
        return self._durations[utterance_id]

    def waveform(self, utterance_id: str) -> torch.Tensor:
        """16 kHz mono, float32 (num_samples,). Raises UserError if the file has gone or changed for
        the worse since the corpus was prepared."""
        path = self.path(utterance_id)
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
    def fingerprint(self) -> str:
        """Changes with any recording, annotation, speaker, session, text or emotion."""
        return self.card["fingerprint"]

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Raises UserError if the folder is not a corpus prepared by this version."""
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
                folder / card["audio_root"],
                {row.utterance_id: row.audio for row in rows},
                dict(zip(utterances, seconds, strict=True)),
                card["audio_fingerprint"],
            )
            emotions = EmotionSet(tuple(card["emotions"]))
        return cls(folder, card, emotions, recordings, utterances, annotations)


def write_corpus(
    listing: Listing, out: Path, *, allow_skips: bool = False, min_seconds: float = 0.1
) -> Corpus:
    """Check every recording of a listing and write the prepared corpus to `out`, whole or not at all.

    Raises UserError as `fill_corpus` does, or if `out` holds something else than a prepared corpus.
    """
    with atomic_folder(out, CARD) as folder:
        fill_corpus(listing, folder, allow_skips=allow_skips, min_seconds=min_seconds)
    return Corpus.load(out)


def fill_corpus(
    listing: Listing, folder: Path, *, allow_skips: bool = False, min_seconds: float = 0.1
) -> None:
    """Write tables and card into an existing folder (audio that lies in it is named relative to it).

    Left out by name: bad recordings, utterances that nobody annotated, annotations of no recording.
    Raises UserError if nothing is left, or if more than 5% of the recordings are bad (unless `allow_skips`).
    """
    left_out, dropped = list(listing.left_out), dict(listing.dropped)
    utterances = _one_a_name(listing.utterances, left_out)
    annotations = _matching(listing.annotations, utterances, left_out, dropped)
    EmotionSet(tuple(listing.emotions)).multi_hot(list({one.emotions for one in annotations}))  # or UserError
    annotated = {annotation.utterance_id for annotation in annotations}
    left_out += [LeftOut(one, "nobody annotated it") for one in utterances if one not in annotated]
    listed = [row for one, row in utterances.items() if one in annotated]

    checks = _check_recordings(listed, listing.audio_root, min_seconds)
    bad = [check for check in checks if isinstance(check, LeftOut)]
    left_out += bad
    left_out = [LeftOut(one_line(one.what), one_line(one.reason)) for one in left_out]
    _refuse_if_too_few(listing, listed, bad, left_out, allow_skips)
    good = {
        row.utterance_id: (row, check)
        for row, check in zip(listed, checks, strict=True)
        if isinstance(check, _Recording)
    }
    kept = [annotation for annotation in annotations if annotation.utterance_id in good]
    write_tables(folder, ((row, recording.seconds) for row, recording in good.values()), kept)
    write_checksums(folder, ("utterances/*", "annotations/*"))
    card = _card(listing, folder, good, kept, left_out, dropped)
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    # A folder's name may be no Unicode either: what cannot be written is written as JSON escapes it.
    (folder / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class _Recording:
    """What a good file turned out to be."""

    seconds: float
    digest: str


def _one_a_name(utterances: Iterable[Utterance], left_out: list[LeftOut]) -> dict[str, Utterance]:
    """Utterances by id, sorted; of two files with one id the second is left out."""
    by_id: dict[str, Utterance] = {}
    for row in utterances:
        if not all(map(_is_unicode, (getattr(row, name) for name in row.__slots__))):
            left_out.append(LeftOut(row.audio, "its name or text is not Unicode: rename it"))
            continue
        first = by_id.setdefault(row.utterance_id, row)
        if first is not row:
            left_out.append(LeftOut(row.audio, f"its id {row.utterance_id} is that of {first.audio}"))
    return dict(sorted(by_id.items()))


def _is_unicode(text: str) -> bool:
    """Whether a table can hold it: bytes of a file's name that are no UTF-8 come as lone surrogates."""
    return text.isascii() or text.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _matching(
    annotations: Iterable[Annotation],
    utterances: dict[str, Utterance],
    left_out: list[LeftOut],
    dropped: dict[str, int],
) -> list[Annotation]:
    """The annotations of listed utterances, sorted, the first that a listener gave to each."""
    first: dict[tuple[str, str], Annotation] = {}
    missing: dict[str, None] = {}  # a set that keeps its order
    for annotation in annotations:
        key = (annotation.utterance_id, annotation.listener)
        if annotation.utterance_id not in utterances:
            missing[annotation.utterance_id] = None
        elif first.setdefault(key, annotation) is not annotation:
            dropped["repeated annotations"] = dropped.get("repeated annotations", 0) + 1
    left_out += [LeftOut(one, "annotated, but there is no recording") for one in missing]
    return [first[key] for key in sorted(first)]


def _check_recordings(
    utterances: list[Utterance], root: Path, min_seconds: float
) -> list[_Recording | LeftOut]:
    """One by one, in order: what the recording is, or the reason why it is bad."""

    def check(audio: str) -> _Recording | LeftOut:
        path = root / audio
        try:
            waveform = load_audio(path, min_seconds)
            return _Recording(len(waveform) / SAMPLE_RATE, hashlib.sha256(path.read_bytes()).hexdigest())
        except (BadAudio, OSError) as error:
            return LeftOut(audio, str(error))

    files = list(dict.fromkeys(row.audio for row in utterances))
    found: dict[str, _Recording | LeftOut] = {}
    pool = ThreadPoolExecutor(os.cpu_count())  # decoding lets go of the interpreter's lock
    try:
        with tqdm(total=len(files), desc="checking audio", unit="file", disable=None) as progress:
            for start in range(0, len(files), CHECKED_AT_ONCE):  # the pool keeps a task for each
                some = files[start : start + CHECKED_AT_ONCE]
                for audio, result in zip(some, pool.map(check, some), strict=True):
                    found[audio] = result
                    progress.update()
    finally:
        pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for every file
    return [found[row.audio] for row in utterances]


def _refuse_if_too_few(
    listing: Listing,
    listed: list[Utterance],
    bad: list[LeftOut],
    left_out: list[LeftOut],
    allow_skips: bool,
) -> None:
    if len(bad) == len(listed):
        reason = f"{left_out[-1].what}: {left_out[-1].reason}" if left_out else "no utterance at all"
        raise UserError(f"nothing of {listing.name} can be used, for example {reason}")
    if len(bad) > MAX_LEFT_OUT * len(listed) and not allow_skips:
        some = "; ".join(f"{one.what}: {one.reason}" for one in bad[:3])
        raise UserError(
            f"{len(bad)} of {len(listed)} recordings are bad ({some}{'; ...' if len(bad) > 3 else ''}): "
            "mend them, or pass --allow-skips to go on without them"
        )


def _card(
    listing: Listing,
    folder: Path,
    good: dict[str, tuple[Utterance, _Recording]],
    annotations: list[Annotation],
    left_out: list[LeftOut],
    dropped: dict[str, int],
) -> dict[str, Any]:
    utterances = [row for row, _ in good.values()]
    audio_root = listing.audio_root.absolute()
    inside = audio_root.is_relative_to(folder.absolute())
    audio_fingerprint = _digest([[one, recording.digest] for one, (_, recording) in good.items()])
    fingerprint = _digest_of_rows(
        [audio_fingerprint, listing.emotions],
        ([row.utterance_id, row.speaker, row.session, row.text] for row in utterances),
        ([one.utterance_id, one.listener, one.emotions] for one in annotations),
    )
    return {
        "format": FORMAT,
        "name": listing.name,
        "emotions": list(listing.emotions),
        "source": listing.source,
        "license": listing.license,
        "simulated": listing.simulated,
        "notes": listing.notes,
        "audio_root": (audio_root.relative_to(folder.absolute()) if inside else audio_root).as_posix(),
        "counts": {
            "utterances": len(utterances),
            "speakers": len({row.speaker for row in utterances}),
            "sessions": len({row.session for row in utterances}),
            "listeners": len({annotation.listener for annotation in annotations}),
            "annotations": len(annotations),
            "left_out": len(left_out),
        },
        "hours": round(sum(recording.seconds for _, recording in good.values()) / 3600, 4),
        "left_out": [[one.what, one.reason] for one in left_out],
        "dropped": dropped,
        "audio_fingerprint": audio_fingerprint,
        "fingerprint": fingerprint,
    }


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _digest_of_rows(head: Sequence[object], *tables: Iterable[Sequence[object]]) -> str:
    """`_digest` of the list of all of them, without a copy of every row."""
    digest = hashlib.sha256(json.dumps(head).removesuffix("]").encode())
    for table in tables:
        rows = iter(table)
        before = ", ["
        while some := list(islice(rows, ROWS_AT_ONCE)):
            digest.update((before + json.dumps(some)[1:-1]).encode())
            before = ", "
        digest.update(b"]" if before == ", " else b", []")
    digest.update(b"]")
    return digest.hexdigest()


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder} is not a prepared corpus (no {CARD}): run `perser prepare`") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CARD} is damaged ({error}): run `perser prepare` again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{folder} was prepared by another version: run `perser prepare` again")
    if "licence" in card:  # how corpora of version 0.1.0 spell it
        card["license"] = card.pop("licence")
    if wrong := [name for name, kind in CARD_FIELDS.items() if not isinstance(card.get(name), kind)]:
        raise UserError(f"{folder / CARD} is damaged ({wrong[0]}): run `perser prepare` again")
    return card
