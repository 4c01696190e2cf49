"""ESD, the Emotional Speech Dataset (Zhou et al. 2022): ten speakers of Mandarin and ten of English say the
same 350 sentences of their language in five emotions.

    0001/0001.txt                         clip, sentence and emotion, between tabs
    0001/Angry/0001_000351.wav            or in Angry/train/, Angry/evaluation/ and Angry/test/

The transcripts are in several encodings; which emotion is meant is read off the folder, since some
transcripts say it in Chinese. The layout is that which the corpus's public users read.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from perser.corpora.listing import About, LeftOut, Listing, Utterance, audio_files, check_layout, described

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


@described(ABOUT)
def esd(root: Path) -> Listing:
    """Read ESD from the folder that holds `0001/` to `0020/`.

    An utterance's session is its language, zh or en.

    Args:
        root: the unpacked corpus.
    """
    listing = ABOUT.listing("esd", EMOTIONS, root)
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
        listing.left_out.append(LeftOut(audio.as_posix(), "not in the folder of an emotion"))
    elif clip is None or clip["speaker"] != speaker:
        listing.left_out.append(LeftOut(audio.as_posix(), f"not the name of a clip of speaker {speaker}"))
    else:
        language = "zh" if speaker <= LAST_MANDARIN else "en"
        utterance = Utterance(path.stem, audio.as_posix(), speaker, language, texts.get(path.stem, ""))
        listing.add_intended(utterance, FOLDERS[emotion])


def _transcripts(path: Path) -> dict[str, str]:
    """Sentences by clip; lines that are not three cells are passed over: no task here reads the text."""
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
