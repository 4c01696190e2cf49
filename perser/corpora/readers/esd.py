"""ESD, the Emotional Speech Dataset (Zhou et al. 2022): Mandarin and English, acted in five emotions.

Ten speakers of each language say the same 350 sentences.

    0001/0001.txt                         clip, sentence and emotion, separated by tabs
    0001/Angry/0001_000351.wav            or in Angry/train/, Angry/evaluation/ and Angry/test/

The transcripts are in several encodings. The emotion is read from the folder's name, because some transcripts
name it in Chinese. The layout is the one that public code for this corpus reads.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from perser.corpora.listing import About, CorpusReader, Listing, Utterance, check_layout
from perser.io.folders import audio_files

FOLDERS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}

EMOTIONS = tuple(FOLDERS.values())

SPLITS = {"train", "evaluation", "test"}

CLIP = re.compile(r"(?P<speaker>\d{4})_\d{6}")

LAST_MANDARIN = "0010"

ABOUT = About(
    what="acted Mandarin and English, 10 speakers each, 5 emotions; the one label is what was meant",
    source="https://github.com/HLTSingapore/Emotional-Speech-Data",
    license="ESD's own (research)",
    axes=("speaker",),
    how_to_get="send in its license, download it there; --root is the folder with 0001/ to 0020/",
)


def read_esd(root: Path) -> Listing:
    """Read ESD from the folder that holds `0001/` to `0020/`.

    An utterance's session is its language, zh or en.

    Args:
        root: The unpacked corpus.
    """
    listing = ABOUT.new_listing("esd", EMOTIONS, root)
    files = list(audio_files(root, "[0-9]" * 4 + "/**/*"))
    check_layout(files, root, "ESD", "audio in 0001/Angry/, 0001/Happy/, ...")
    texts: dict[str, str] = {}
    for folder in sorted({root / path.relative_to(root).parts[0] for path in files}):
        texts |= _transcripts(folder / f"{folder.name}.txt")
    for path in files:
        _add_clip(path, texts, listing)
    return listing


def _add_clip(path: Path, texts: dict[str, str], listing: Listing) -> None:
    audio = path.relative_to(listing.audio_root)
    speaker, *folders, _ = audio.parts
    clip = CLIP.fullmatch(path.stem)
    emotion = folders[0] if folders and set(folders[1:]) <= SPLITS else None
    if emotion not in FOLDERS:
        listing.leave_out(audio.as_posix(), "not in the folder of an emotion")
    elif clip is None or clip["speaker"] != speaker:
        listing.leave_out(audio.as_posix(), f"not the name of a clip of speaker {speaker}")
    else:
        language = "zh" if speaker <= LAST_MANDARIN else "en"
        utterance = Utterance(path.stem, audio.as_posix(), speaker, language, texts.get(path.stem, ""))
        listing.add_intended(utterance, FOLDERS[emotion])


def _transcripts(path: Path) -> dict[str, str]:
    """Return the sentences by clip. Lines without three cells are skipped: no task here needs the text."""
    if not path.is_file():
        return {}
    lines = (line.split("\t") for line in _decoded(path).splitlines())
    return {cells[0].strip(): cells[1].strip() for cells in lines if len(cells) == 3}


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030" if path.stem <= LAST_MANDARIN else "latin-1", errors="replace")


ESD = CorpusReader(read_esd, ABOUT)
