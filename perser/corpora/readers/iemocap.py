"""IEMOCAP (Busso et al. 2008) with each listener's own labels.

Listeners are the evaluators E1, E2, ... and the actors, who label themselves.

Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
Session1/dialog/EmoEvaluation/Ses01F_impro01.txt     blocks of responses, one block per utterance
Session1/dialog/transcriptions/Ses01F_impro01.txt    optional
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perser.corpora.listing import About, Annotation, CorpusReader, LeftOut, Listing, Utterance, check_layout
from perser.io.folders import audio_files
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
"""The corpus's words and their emotions: the nine of Meta-PerSER (section 3.1), in its order."""

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


def read_iemocap(root: Path) -> Listing:
    """Read IEMOCAP from the folder that holds `Session1/` to `Session5/`.

    Responses of "other" are dropped and counted. Lines that cannot be read are left out by name.

    Args:
        root: The unpacked corpus (`IEMOCAP_full_release`).
    """
    listing = ABOUT.new_listing("iemocap", EMOTIONS, root)
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
            listing.leave_out(audio, "not an IEMOCAP utterance's name")
            continue
        speaker, text = _actor(session, name["actor"]), texts.get(path.stem, "")
        listing.utterances.append(Utterance(path.stem, audio, speaker, session, text))
    for path in _text_files(folder / "dialog" / "EmoEvaluation"):
        evaluation = parse_evaluation(_read(path), session, path.relative_to(root).as_posix())
        listing.annotations += evaluation.annotations
        listing.left_out += evaluation.left_out
        listing.dropped = dict(Counter(listing.dropped) + evaluation.dropped)


@dataclass(frozen=True)
class Evaluation:
    """The content of one evaluation file."""

    annotations: list[Annotation]
    left_out: list[LeftOut]
    dropped: Counter[str]


def parse_evaluation(text: str, session: str, file: str) -> Evaluation:
    """Return the categorical responses (`C-` lines) in the text of one evaluation file.

    `file` is its name, for what is left out. The attribute ratings (`A-` lines) are not read.
    """
    evaluation = Evaluation([], [], Counter())
    utterance: str | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("["):
            header = HEADER.fullmatch(line)
            utterance = header["utterance"] if header else None
            if header is None:
                reason = "the head of a block that cannot be read"
                evaluation.left_out.append(LeftOut(f"{file}:{number}", reason))
        elif line.startswith("C-"):
            _add_response(line, utterance, session, f"{file}:{number}", evaluation)
    return evaluation


def _add_response(line: str, utterance: str | None, session: str, where: str, evaluation: Evaluation) -> None:
    # Split by hand: a regular expression would take minutes on a line of a million spaces.
    head, colon, rest = line.partition(":")
    who, labels = WHO.fullmatch(head), rest.partition("(")[0].strip()
    understood = colon and "\t" not in labels
    if who is None or not understood or utterance is None:
        reason = "a response to no utterance" if who and understood else "a response that cannot be read"
        evaluation.left_out.append(LeftOut(where, reason))
        return
    words = parse_emotions(labels)
    unknown = [word for word in words if word not in WORDS and word != OTHER]
    if unknown or not words:
        reason = f"unknown emotion '{unknown[0]}'" if unknown else "a response without any emotion"
        evaluation.left_out.append(LeftOut(where, reason))
        return
    emotions = emotions_of(words)
    evaluation.dropped[OTHER] += OTHER in words
    if emotions:
        evaluation.annotations.append(Annotation(utterance, _listener(who[1], session), emotions))
    else:
        evaluation.dropped["responses of other alone"] += 1


def emotions_of(words: Emotions) -> Emotions:
    """Return the emotions of the corpus's words (lower case), without "other" and without repeats."""
    return tuple(dict.fromkeys(WORDS[word] for word in words if word != OTHER))


def _listener(who: str, session: str) -> str:
    """Return the listener: evaluators are the same in all sessions, F1 and M1 are the session's actors."""
    return who if who.startswith("E") else _actor(session, who[0])


def _actor(session: str, letter: str) -> str:
    return f"Ses{int(session):02d}_{letter}"


def _transcripts(folder: Path) -> dict[str, str]:
    lines = (line for path in _text_files(folder) for line in _read(path).split("\n"))
    matches = (TRANSCRIPT.fullmatch(line.strip()) for line in lines)
    return {match["utterance"]: match["text"].strip() for match in matches if match}


def _text_files(folder: Path) -> Iterator[Path]:
    """Return the `.txt` files directly in the folder, without hidden ones (macOS's `._*`)."""
    return (path for path in sorted(folder.glob("*.txt")) if path.is_file() and not path.name.startswith("."))


def _read(path: Path) -> str:
    # Some comments are not UTF-8. Latin-1 reads any byte, and the labels are ASCII. It turns the byte 0x85
    # into a character that str.splitlines takes for the end of a line, so callers use split("\n").
    return path.read_text(encoding="latin-1")


IEMOCAP = CorpusReader(read_iemocap, ABOUT)
