"""Dusha (Kondratenko et al. 2022): Russian speech, and what each crowd annotator heard in each clip.

    crowd_train/raw_crowd_train.tsv       one row per annotator and clip
    crowd_train/wavs/<hash_id>.wav
    crowd_test/, podcast_train/, podcast_test/     the same, each optional

The archives may be unpacked to one folder, or to `crowd/` and `podcast/` in it. For license reasons the
podcasts' recordings are not published; a folder without `wavs/` is left out by name. The corpus's users take
`source_id` for the speaker; its authors do not say what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perser.corpora.listing import (
    INTENDED,
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    CorpusReader,
    Listing,
    Utterance,
    check_layout,
    check_listeners,
)
from perser.corpora.published_tables import read_rows

EMOTIONS = ("angry", "sad", "neutral", "positive")

OTHER = "other"

SUBSETS = ("crowd_train", "crowd_test", "podcast_train", "podcast_test")

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


def read_dusha(root: Path, listeners: str = "responses") -> Listing:
    """Read Dusha from the folder that holds `crowd_train/`, or `crowd/` with it.

    Responses of "other" are dropped and counted. An utterance's session is its subset, such as crowd_test.

    Args:
        root: The unpacked corpus.
        listeners: `responses` (the real listeners), or `intended` (what the speaker was asked to express; the
            podcasts have none).
    """
    check_listeners(listeners, "dusha")
    listing = ABOUT.new_listing("dusha", EMOTIONS, root)
    folders = {subset: table.parent for subset in SUBSETS for table in _tables(root, subset)}
    check_layout(folders, root, "Dusha", "crowd_train/raw_crowd_train.tsv")
    with_audio = {subset: folder for subset, folder in folders.items() if (folder / "wavs").is_dir()}
    check_layout(with_audio, root, "Dusha", "wavs/ beside its raw_*.tsv")
    for subset in folders:
        if subset not in with_audio:
            listing.leave_out(subset, "no wavs/ in it: are its recordings published?")
    for subset, folder in with_audio.items():
        _add_subset(subset, folder, listing, listeners)
    return listing


def _tables(root: Path, subset: str) -> Iterator[Path]:
    for folder in (root, root / subset.split("_")[0]):
        table = folder / subset / f"raw_{subset}.tsv"
        if table.is_file():
            yield table


def _add_subset(subset: str, folder: Path, listing: Listing, listeners: str) -> None:
    """Add one table. An utterance has a row for each of its annotators; the first row describes it."""
    table = folder / f"raw_{subset}.tsv"
    seen: set[str] = set()
    for line, row in read_rows(table, COLUMNS):
        name, where = row["hash_id"], f"{table.name}:{line}"
        if not (name and row["audio_path"]) or Path(row["audio_path"]).is_absolute():
            listing.leave_out(where, "no hash_id, or no audio_path inside the corpus")
            continue
        if name not in seen:
            seen.add(name)
            audio = (folder / row["audio_path"]).relative_to(listing.audio_root).as_posix()
            speaker = row["source_id"] or UNKNOWN_SPEAKER
            listing.utterances.append(Utterance(name, audio, speaker, subset, row["speaker_text"]))
            if listeners == INTENDED:
                _add_label(name, INTENDED, row["speaker_emo"], where, listing)
        if listeners != INTENDED:
            _add_label(name, row["annotator_id"], row["annotator_emo"], where, listing)


def _add_label(name: str, listener: str, emotion: str, where: str, listing: Listing) -> None:
    if emotion == OTHER:
        listing.drop("responses of other")
    elif emotion not in EMOTIONS or not listener:
        listing.leave_out(
            where, f"unknown emotion '{emotion}'" if listener else "a response without annotator_id"
        )
    else:
        listing.annotations.append(Annotation(name, listener, (emotion,)))


DUSHA = CorpusReader(read_dusha, ABOUT)
