"""Dusha (Kondratenko et al. 2022): Russian speech, and what each crowd annotator heard in each clip.

    crowd_train/raw_crowd_train.tsv       one row an annotator and clip
    crowd_train/wavs/<hash_id>.wav
    crowd_test/, podcast_train/, podcast_test/     likewise, each present or not

The archives may be unpacked to one folder, or to `crowd/` and `podcast/` in it. For license reasons the
podcasts' recordings are not published: a part without `wavs/` is left out by name. That `source_id` is the
speaker is how the corpus's users read it; its authors do not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perser.corpora.listing import (
    INTENDED,
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    LeftOut,
    Listing,
    Utterance,
    check_layout,
    described,
)
from perser.corpora.tables import rows
from perser.errors import UserError

EMOTIONS = ("angry", "sad", "neutral", "positive")

OTHER = "other"

PARTS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")

COLUMNS = (
    "hash_id",
    "audio_path",
    "annotator_emo",
    "speaker_text",
    "speaker_emo",
    "source_id",
    "annotator_id",
)

ABOUT = About(
    what="Russian, about 2,000 speakers to a voice assistant and podcasts, 4 emotions; crowd annotators' own "
    "labels",
    source="https://github.com/salute-developers/golos/tree/master/dusha",
    license="Dusha's own public license (see its site)",
    axes=("listener", "speaker"),
    how_to_get="download crowd.tar (28 GB); --root is the folder with crowd_train/",
)


@described(ABOUT)
def dusha(root: Path, listeners: str = "responses") -> Listing:
    """Read Dusha from the folder that holds `crowd_train/`, or `crowd/` with it.

    Responses of "other" are dropped and counted. An utterance's session is its part, such as crowd_test.

    Args:
        root: the unpacked corpus.
        listeners: `responses` (the real ones), or `intended` (what the speaker was asked to express; the
            podcasts have none).
    """
    if listeners not in ("responses", INTENDED):
        raise UserError(f"--listeners {listeners} is unknown to dusha: give responses or {INTENDED}")
    listing = ABOUT.listing("dusha", EMOTIONS, root)
    parts = {part: table.parent for part in PARTS for table in _tables(root, part)}
    check_layout(parts, root, "Dusha", "crowd_train/raw_crowd_train.tsv")
    heard = {part: folder for part, folder in parts.items() if (folder / "wavs").is_dir()}
    check_layout(heard, root, "Dusha", "wavs/ beside its raw_*.tsv")
    listing.left_out += [
        LeftOut(part, "no wavs/ in it: are its recordings published?") for part in parts if part not in heard
    ]
    for part, folder in heard.items():
        _add_part(part, folder, listing, listeners)
    return listing


def _tables(root: Path, part: str) -> Iterator[Path]:
    for folder in (root, root / part.split("_")[0]):
        table = folder / part / f"raw_{part}.tsv"
        if table.is_file():
            yield table


def _add_part(part: str, folder: Path, listing: Listing, listeners: str) -> None:
    """An utterance has a row for each of its annotators; the first says what it is."""
    table = folder / f"raw_{part}.tsv"
    seen: set[str] = set()
    for line, row in rows(table, COLUMNS):
        name, where = row["hash_id"], f"{table.name}:{line}"
        if not (name and row["audio_path"]) or Path(row["audio_path"]).is_absolute():
            listing.left_out.append(LeftOut(where, "no hash_id, or no audio_path inside the corpus"))
            continue
        if name not in seen:
            seen.add(name)
            audio = (folder / row["audio_path"]).relative_to(listing.audio_root).as_posix()
            speaker = row["source_id"] or UNKNOWN_SPEAKER
            listing.utterances.append(Utterance(name, audio, speaker, part, row["speaker_text"]))
            if listeners == INTENDED:
                _add_label(name, INTENDED, row["speaker_emo"], where, listing)
        if listeners != INTENDED:
            _add_label(name, row["annotator_id"], row["annotator_emo"], where, listing)


def _add_label(name: str, listener: str, emotion: str, where: str, listing: Listing) -> None:
    if emotion == OTHER:
        listing.drop("responses of other")
    elif emotion not in EMOTIONS or not listener:
        reason = "a response of nobody" if not listener else f"unknown emotion '{emotion}'"
        listing.left_out.append(LeftOut(where, reason))
    else:
        listing.annotations.append(Annotation(name, listener, (emotion,)))
