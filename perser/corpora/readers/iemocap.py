"""IEMOCAP (Busso et al. 2008), keeping who labeled what: the evaluators E1, E2, ... and the actors'
reports on themselves.

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     blocks of responses, one block an utterance
    Session1/dialog/transcriptions/Ses01F_impro01.txt    optional
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perser.corpora.listing import (
    About,
    Annotation,
    LeftOut,
    Listing,
    Utterance,
    audio_files,
    check_layout,
    described,
)
from perser.labels import Emotions, parse_emotions

WORDS = {
    "frustration": "frustrated",
    "anger": "angry",
    "sadness": "sad",
    "disgust": "disgust",
    "excited": "excited",
    "fear": "fear",
    "neutral": "neutral",
    "surprise": "surprise",
    "happiness": "happy",
    "neutral state": "neutral",
}
"""The corpus's words, and the nine emotions of Meta-PerSER (section 3.1) in its order."""

EMOTIONS = tuple(dict.fromkeys(WORDS.values()))

OTHER = "other"

ABOUT = About(
    what="English dialogues of 10 actors, 9 emotions, several at once; evaluators' own labels and the actors "
    "on themselves",
    source="https://sail.usc.edu/iemocap",
    license="IEMOCAP release form (research, on request)",
    axes=("listener", "speaker"),
    how_to_get="sign the release form; --root is IEMOCAP_full_release",
)

SESSIONS = ("1", "2", "3", "4", "5")

HEADER = re.compile(r"\[\d+\.\d+ - \d+\.\d+\]\t(?P<utterance>\S+)\t\S+\t\[.*\]\s*")

WHO = re.compile(r"C-([EFM]\d+)")

UTTERANCE = re.compile(r"Ses\d\d[FM]_\S+_(?P<actor>[FM])\w*\d+")

TRANSCRIPT = re.compile(r"(?P<utterance>\S+) \[[\d.]+-[\d.]+\]:\s*(?P<text>.*)")


@described(ABOUT)
def iemocap(root: Path) -> Listing:
    """Read IEMOCAP from the folder that holds `Session1/` to `Session5/`.

    Responses of "other" are dropped and counted, lines that cannot be understood are left out by name.

    Args:
        root: the unpacked corpus (`IEMOCAP_full_release`).
    """
    listing = ABOUT.listing("iemocap", EMOTIONS, root)
    present = [session for session in SESSIONS if (root / f"Session{session}").is_dir()]
    check_layout(present, root, "IEMOCAP", "Session1/ to Session5/")
    for session in present:
        _add_session(root, session, listing)
    check_layout(listing.utterances, root, "IEMOCAP", "Session*/sentences/wav/*/*.wav")
    check_layout(listing.annotations, root, "IEMOCAP", "responses in Session*/dialog/EmoEvaluation/*.txt")
    if len(present) < len(SESSIONS):
        missing = ", ".join(session for session in SESSIONS if session not in present)
        listing.notes.append(f"sessions not there: {missing}")
    return listing


def _add_session(root: Path, session: str, listing: Listing) -> None:
    folder = root / f"Session{session}"
    texts = _transcripts(folder / "dialog" / "transcriptions")
    for path in audio_files(folder, "sentences/wav/*/*"):
        audio = path.relative_to(root).as_posix()
        name = UTTERANCE.fullmatch(path.stem)
        if name is None:
            listing.left_out.append(LeftOut(audio, "not an IEMOCAP utterance's name"))
            continue
        speaker, text = _actor(session, name["actor"]), texts.get(path.stem, "")
        listing.utterances.append(Utterance(path.stem, audio, speaker, session, text))
    for path in _text_files(folder / "dialog" / "EmoEvaluation"):
        found = parse_evaluation(_read(path), session, path.relative_to(root).as_posix())
        listing.annotations += found.annotations
        listing.left_out += found.left_out
        listing.dropped = dict(Counter(listing.dropped) + found.dropped)


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation file says."""

    annotations: list[Annotation]
    left_out: list[LeftOut]
    dropped: Counter[str]


def parse_evaluation(text: str, session: str, file: str) -> Evaluation:
    """The categorical responses (`C-` lines) of one evaluation file.

    `file` names it in what is left out. The attribute ratings (`A-` lines) are not read.
    """
    found = Evaluation([], [], Counter())
    utterance: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("["):
            header = HEADER.fullmatch(line)
            utterance = header["utterance"] if header else None
            if header is None:
                found.left_out.append(LeftOut(f"{file}:{number}", "the head of a block that cannot be read"))
        elif line.startswith("C-"):
            _add_response(line, utterance, session, f"{file}:{number}", found)
    return found


def _add_response(line: str, utterance: str | None, session: str, where: str, found: Evaluation) -> None:
    # Taken apart by hand: a pattern of it would take minutes over a line of a million spaces.
    head, colon, rest = line.partition(":")
    who, labels = WHO.fullmatch(head), rest.partition("(")[0].strip()
    understood = who is not None and colon and "\t" not in labels
    if not understood or utterance is None:
        reason = "a response to no utterance" if understood else "a response that cannot be read"
        found.left_out.append(LeftOut(where, reason))
        return
    words = parse_emotions(labels)
    unknown = [word for word in words if word not in WORDS and word != OTHER]
    if unknown or not words:
        reason = f"unknown emotion '{unknown[0]}'" if unknown else "a response without any emotion"
        found.left_out.append(LeftOut(where, reason))
        return
    emotions = emotions_of(words)
    found.dropped[OTHER] += OTHER in words
    if emotions:
        found.annotations.append(Annotation(utterance, _listener(who[1], session), emotions))
    else:
        found.dropped["responses of other alone"] += 1


def emotions_of(words: Emotions) -> Emotions:
    """The corpus's words (lower case) as the nine emotions, "other" dropped, without repeats."""
    return tuple(dict.fromkeys(WORDS[word] for word in words if word != OTHER))


def _listener(who: str, session: str) -> str:
    """Evaluators are the same people in every session; F1 and M1 are each session's own actors."""
    return who if who.startswith("E") else _actor(session, who[0])


def _actor(session: str, letter: str) -> str:
    return f"Ses{int(session):02d}_{letter}"


def _transcripts(folder: Path) -> dict[str, str]:
    lines = (line for path in _text_files(folder) for line in _read(path).split("\n"))
    found = (TRANSCRIPT.fullmatch(line.strip()) for line in lines)
    return {line["utterance"]: line["text"].strip() for line in found if line}


def _text_files(folder: Path) -> Iterator[Path]:
    """The folder's own `.txt` files, without macOS's `._*`."""
    return (path for path in sorted(folder.glob("*.txt")) if path.is_file() and not path.name.startswith("."))


def _read(path: Path) -> str:
    # Comments are not all UTF-8; Latin-1 reads any byte, and the labels are ASCII. (It makes the byte 0x85
    # a character that str.splitlines takes for a line's end: hence split("\n") above.)
    return path.read_text(encoding="latin-1")
