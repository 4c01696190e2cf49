"""MSP-Podcast (Lotfian and Busso 2019): English podcasts, and what each crowd worker heard in each clip.

    Audios/MSP-PODCAST_0023_0049.wav
    Labels/labels_consensus.csv     one row a clip; SpkrID and Split_Set are read (older: labels_concensus)
    Labels/labels_detailed.csv      one row a worker and clip
    Transcripts/MSP-PODCAST_0023_0049.txt     optional

Releases write a worker's answer in two ways, and both are read: in columns (1.6: Workers, 2.0: WorkerID; with
EmoClass_Major and EmoClass_Second), or in one cell of the column EmoDetail, as in
"WORKER00000017; Happy; Happy,Excited; A:5; V:6; D:4;". The corpus comes on request and was not at hand:
columns and layout are those that its public users read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from perser.corpora.listing import (
    UNKNOWN_SPEAKER,
    About,
    Annotation,
    LeftOut,
    Listing,
    Utterance,
    check_layout,
    described,
)
from perser.corpora.tables import header, rows
from perser.errors import UserError
from perser.labels import Emotions

EMOTIONS = ("angry", "sad", "happy", "surprise", "fear", "disgust", "contempt", "neutral")
"""The primary emotions, which the corpus spells with a capital. Besides, a worker may write one of their own
("Other-Curious"), and secondary emotions have finer words ("Amused")."""

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


@described(ABOUT)
def msp_podcast(root: Path) -> Listing:
    """Read MSP-Podcast from the folder that holds `Audios/` and `Labels/`.

    A response is the primary emotion and the secondary ones, as far as they are among the eight; others are
    counted as dropped. An utterance's session is its official part (Train, Development, Test1, ...).

    Args:
        root: the unpacked corpus.
    """
    listing = ABOUT.listing("msp-podcast", EMOTIONS, root / "Audios")
    consensus = next((root / name for name in CONSENSUS if (root / name).is_file()), None)
    check_layout((root / "Audios").is_dir(), root, "MSP-Podcast", "Audios/")
    check_layout(consensus, root, "MSP-Podcast", CONSENSUS[0])
    for line, row in rows(consensus, ("FileName", "SpkrID", "Split_Set")):
        if row["FileName"]:
            listing.utterances.append(_utterance(root, row))
        else:
            listing.left_out.append(LeftOut(f"{consensus.name}:{line}", "no FileName"))
    unknown = sum(row.speaker == UNKNOWN_SPEAKER for row in listing.utterances)
    if unknown:
        listing.notes.append(
            f"{unknown} utterances are of speakers whom nobody identified: on the speaker axis, exclude "
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
    except OSError:  # a name longer than any file's
        return ""


def _add_responses(path: Path, listing: Listing) -> None:
    columns = _columns(path)
    for line, row in rows(path, columns):
        file, worker, primary, secondary = _response([row[name] for name in columns])
        if not (file and worker and primary):
            listing.left_out.append(LeftOut(f"{DETAILED}:{line}", "no file, worker or primary emotion"))
            continue
        emotions = _emotions([primary, *secondary.split(",")], listing)
        if emotions:
            listing.annotations.append(Annotation(Path(file).stem, worker, emotions))
        else:
            listing.drop("responses of other emotions alone")


def _columns(path: Path) -> tuple[str, ...]:
    """Those that this release has. Raises UserError for neither form."""
    found = header(path)
    if DETAIL in found:
        return ("FileName", DETAIL)
    worker = next((name for name in WORKERS if name in found), None)
    if worker is None:
        raise UserError(f"{path} has neither {DETAIL} nor {WORKERS[0]}: is it the published file?")
    return ("FileName", worker, "EmoClass_Major", "EmoClass_Second")


def _response(cells: list[str]) -> tuple[str, str, str, str]:
    """File, worker, primary emotion and secondary ones ("" where they are not there)."""
    if len(cells) == 2:
        detail = [part.strip() for part in cells[1].split(";")]
        cells = [cells[0], *(part for part in detail if not ATTRIBUTE.fullmatch(part)), "", "", ""]
    file, worker, primary, secondary = cells[:4]
    return file, worker, primary, secondary


def _emotions(words: Iterable[str], listing: Listing) -> Emotions:
    """Those among the eight, without repeats; the others are counted."""
    found: dict[str, None] = {}
    for word in filter(None, (word.strip().lower() for word in words)):
        if word in EMOTIONS:
            found[word] = None
        else:
            listing.drop("emotions outside the eight")
    return tuple(found)
