"""MSP-Podcast (Lotfian and Busso 2019): English podcasts, and what each crowd worker heard in each clip.

    Audios/MSP-PODCAST_0023_0049.wav
    Labels/labels_consensus.csv     one row per clip; SpkrID and Split_Set are read (older: labels_concensus)
    Labels/labels_detailed.csv      one row per worker and clip
    Transcripts/MSP-PODCAST_0023_0049.txt     optional

Releases write a worker's answer in two forms, and both are read: in columns (1.6: Workers, 2.0: WorkerID;
with EmoClass_Major and EmoClass_Second), or in one cell of the column EmoDetail, as in "WORKER00000017;
Happy; Happy,Excited; A:5; V:6; D:4;". The corpus is only available on request. This reader was written from
public code that reads it, and was not tried on the corpus itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from perser.corpora.listing import (
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    CorpusReader,
    Listing,
    Utterance,
    check_layout,
)
from perser.corpora.published_tables import read_header, read_rows
from perser.errors import UserError
from perser.labels import Emotions

EMOTIONS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
"""The primary emotions, which the corpus capitalizes. Workers may also write their own word
("Other-Curious"), and there are more words for secondary emotions ("Amused")."""

DETAIL = "EmoDetail"

WORKERS = ("WorkerID", "Workers")

ATTRIBUTE = re.compile(r"[AVD]:.*")

CONSENSUS = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv")

DETAILED = "Labels/labels_detailed.csv"

ABOUT = About(
    what="English podcasts, 8 emotions, several at once; crowd workers' own labels, about five a clip",
    source="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
    license="MSP-Podcast's own (academic or commercial, on request)",
    axes=("listener", "speaker"),
    how_to_get="sign the license there; --root is the folder with Audios/ and Labels/",
)


def read_msp_podcast(root: Path) -> Listing:
    """Read MSP-Podcast from the folder that holds `Audios/` and `Labels/`.

    A response is the primary and the secondary emotions that are among the eight. Others are counted as
    dropped. An utterance's session is its official subset (Train, Development, Test1, ...).

    Args:
        root: The unpacked corpus.
    """
    listing = ABOUT.new_listing("msp-podcast", EMOTIONS, root / "Audios")
    consensus = next((root / name for name in CONSENSUS if (root / name).is_file()), None)
    check_layout((root / "Audios").is_dir(), root, "MSP-Podcast", "Audios/")
    check_layout(consensus, root, "MSP-Podcast", CONSENSUS[0])
    assert consensus is not None  # checked by now
    for line, row in read_rows(consensus, ("FileName", "SpkrID", "Split_Set")):
        if row["FileName"]:
            listing.utterances.append(_utterance(root, row))
        else:
            listing.leave_out(f"{consensus.name}:{line}", "no FileName")
    unknown = sum(row.speaker == UNKNOWN_SPEAKER for row in listing.utterances)
    if unknown:
        listing.notes.append(
            f"{unknown} utterances are of unidentified speakers: on the speaker axis, exclude "
            f"the speaker {UNKNOWN_SPEAKER!r}"
        )
    _add_responses(root / DETAILED, listing)
    return listing


def _utterance(root: Path, row: dict[str, str]) -> Utterance:
    name = Path(row["FileName"]).stem
    speaker = row["SpkrID"] if row["SpkrID"].lower() not in ("", UNKNOWN_SPEAKER) else UNKNOWN_SPEAKER
    text = _transcript(root / "Transcripts" / f"{name}.txt")
    return Utterance(name, row["FileName"], speaker, row["Split_Set"], text)


def _transcript(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    except OSError:  # the name is too long for a file
        return ""


def _add_responses(path: Path, listing: Listing) -> None:
    columns = _columns(path)
    for line, row in read_rows(path, columns):
        file, worker, primary, secondary = _response([row[name] for name in columns])
        if not (file and worker and primary):
            listing.leave_out(f"{DETAILED}:{line}", "no file, worker or primary emotion")
            continue
        emotions = _emotions([primary, *secondary.split(",")], listing)
        if emotions:
            listing.annotations.append(Annotation(Path(file).stem, worker, emotions))
        else:
            listing.drop("responses of other emotions alone")


def _columns(path: Path) -> tuple[str, ...]:
    """Return the columns in which this release has the answers. Raises UserError if it has neither form."""
    header = read_header(path)
    if DETAIL in header:
        return ("FileName", DETAIL)
    worker = next((name for name in WORKERS if name in header), None)
    if worker is None:
        raise UserError(f"{path} has neither {DETAIL} nor {WORKERS[0]}: is it the published file?")
    return ("FileName", worker, "EmoClass_Major", "EmoClass_Second")


def _response(cells: list[str]) -> tuple[str, str, str, str]:
    """Return file, worker, primary emotion and secondary emotions ("" where one is missing)."""
    if len(cells) == 2:
        fields = [field.strip() for field in cells[1].split(";")]
        cells = [cells[0], *(field for field in fields if not ATTRIBUTE.fullmatch(field)), "", "", ""]
    file, worker, primary, secondary = cells[:4]
    return file, worker, primary, secondary


def _emotions(words: Iterable[str], listing: Listing) -> Emotions:
    """Return the words among the eight emotions, without repeats, and count the others as dropped."""
    known: dict[str, None] = {}  # a set that keeps its order
    for word in filter(None, (word.strip().lower() for word in words)):
        if word in EMOTIONS:
            known[word] = None
        else:
            listing.drop("emotions outside the eight")
    return tuple(known)


MSP_PODCAST = CorpusReader(read_msp_podcast, ABOUT)
