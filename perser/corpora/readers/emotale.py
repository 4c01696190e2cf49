"""EmoTale (Hjuler et al. 2025): Danish and English sentences, acted in five emotions.

Three listeners labeled every clip.

    annotations.csv     file, a1_A, a1_V, a1_D, a1_cat, a2_..., a3_..., gt_emotion: one row per clip
    DK_004_A_5.wav      language, speaker, acted emotion, sentence; in any folder below

The table does not say in which folder a recording is, so recordings are found by name. (The corpus's README
speaks of two annotators; its table has three.)
"""

from __future__ import annotations

import re
from pathlib import Path

from perser.corpora.listing import (
    INTENDED,
    About,
    Annotation,
    CorpusReader,
    Listing,
    Utterance,
    check_layout,
    check_listeners,
)
from perser.corpora.published_tables import parse_sentences, read_header, read_rows
from perser.errors import UserError
from perser.io.folders import audio_files

EMOTIONS = ("angry", "bored", "happy", "neutral", "sad")

LETTERS = dict(zip("ABHNS", EMOTIONS, strict=True))

SENTENCES = parse_sentences("""
DK1 Dugen ligger på køleskabet.
DK2 Det sorte ark papir er placeret deroppe ved siden af tømmerstykket.
DK3 De bar det bare ovenpå og nu skal de ned igen.
DK4 Det vil være på det sted, hvor vi altid opbevarer det.
DK5 Om syv timer er det morgen.
EN1 The tablecloth is lying on the fridge.
EN2 The black sheet of paper is located up there besides the piece of timber.
EN3 They just carried it upstairs and now they are going down again.
EN4 It will be in the place where we always store it.
EN5 In seven hours it will be morning.
""")

CLIP = re.compile(rf"(?P<language>DK|EN)_(?P<speaker>\d+)_[{''.join(LETTERS)}]_(?P<sentence>[1-5])")

LISTENER = re.compile(r"(a\d+)_cat")

ANNOTATIONS = "annotations.csv"

ACTED = "gt_emotion"

ABOUT = About(
    what="acted Danish and English, 18 speakers, 5 emotions; three listeners who labeled every clip",
    source="https://github.com/snehadas/EmoTale",
    license="see EmoTale_datasheet.pdf there",
    axes=("listener", "speaker"),
    how_to_get="get the recordings as its page says; --root is the folder with annotations.csv and them",
)


def read_emotale(root: Path, listeners: str = "responses") -> Listing:
    """Read EmoTale from the folder that holds `annotations.csv`.

    An utterance's session is its language, DK or EN; a speaker may speak both.

    Args:
        root: The unpacked corpus.
        listeners: `responses` (the real listeners), or `intended` (the acted emotion).
    """
    check_listeners(listeners, "emotale")
    listing = ABOUT.new_listing("emotale", EMOTIONS, root)
    files = list(audio_files(root, "**/*"))
    check_layout((root / ANNOTATIONS).is_file(), root, "EmoTale", ANNOTATIONS)
    check_layout(files, root, "EmoTale", "recordings such as DK_004_A_5.wav")
    for path in files:
        _add_clip(path, listing)
    columns = _columns(root / ANNOTATIONS, listeners)
    for line, row in read_rows(root / ANNOTATIONS, ("file", *columns)):
        for column, listener in columns.items():
            _add_label(Path(row["file"]).stem, listener, row[column], f"{line}, {column}", listing)
    return listing


def _add_clip(path: Path, listing: Listing) -> None:
    audio = path.relative_to(listing.audio_root).as_posix()
    clip = CLIP.fullmatch(path.stem)
    if clip is None:
        listing.leave_out(audio, "not an EmoTale clip's name")
        return
    text = SENTENCES[clip["language"] + clip["sentence"]]
    listing.utterances.append(Utterance(path.stem, audio, clip["speaker"], clip["language"], text))


def _columns(path: Path, listeners: str) -> dict[str, str]:
    """Return the columns that hold labels, and the listener of each. Raises UserError if there are none."""
    if listeners == INTENDED:
        return {ACTED: INTENDED}
    matches = [LISTENER.fullmatch(name) for name in read_header(path)]
    columns = {match[0]: match[1] for match in matches if match}
    if not columns:
        raise UserError(f"{path} has no column a1_cat, a2_cat, ...: is it the published file?")
    return columns


def _add_label(clip: str, listener: str, letter: str, where: str, listing: Listing) -> None:
    if letter in LETTERS:
        listing.annotations.append(Annotation(clip, listener, (LETTERS[letter],)))
    else:
        listing.leave_out(f"{ANNOTATIONS}:{where}", f"'{letter}' is none of {', '.join(LETTERS)}")


EMOTALE = CorpusReader(read_emotale, ABOUT)
