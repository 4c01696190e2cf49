"""CREMA-D (Cao et al. 2014): 91 actors say twelve sentences in six emotions.

Crowd workers label each clip by the voice alone.

AudioWAV/1001_DFA_ANG_XX.wav           actor, sentence, acted emotion, level (any audio suffix)
finishedResponses.csv                  one row per response: which listener heard which emotion in which clip
processedResults/tabulatedVotes.csv    votes per clip
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from perser.corpora.listeners.kinds import REALISTIC, STRONG, ListenerKind
from perser.corpora.listeners.learnable import describe
from perser.corpora.listeners.listener import annotate
from perser.corpora.listeners.shares import CREMAD_VOICE
from perser.corpora.listeners.truth import ListenerTruth
from perser.corpora.listing import (
    INTENDED,
    UNKNOWN_LISTENER,
    About,
    Annotation,
    CorpusReader,
    Listing,
    Utterance,
    check_layout,
)
from perser.corpora.published_tables import parse_sentences, read_rows
from perser.errors import UserError
from perser.io.folders import audio_files
from perser.labels import EmotionSet

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad")

LETTERS = dict(zip("ADFHNS", EMOTIONS, strict=True))

CODES = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), EMOTIONS, strict=True))

SENTENCES = parse_sentences("""
DFA Don't forget a jacket.
IEO It's eleven o'clock.
IOM I'm on my way to the meeting.
ITH I think I have a doctor's appointment.
ITS I think I've seen this before.
IWL I would like a new alarm clock.
IWW I wonder what this is about.
MTI Maybe tomorrow it will be cold.
TAI The airplane is almost full.
TIE That is exactly what happened.
TSI The surface is slick.
WSI We'll stop in a couple of minutes.
""")

CLIP = re.compile(rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(CODES)})_[A-Z]{{1,2}}")

SIMULATED = re.compile(r"(simulated|simulated-strong):([1-9]\d*)(?::([1-9]\d*))?")

VOICE_ONLY = "1"
"""The query type of responses to the voice without the face."""

VOICE_ONLY_ROWS = range(100_000, 200_000)
"""The row numbers of votes on the voice without the face."""

RESPONSES = "finishedResponses.csv"

VOTES = "processedResults/tabulatedVotes.csv"

ABOUT = About(
    what="acted English, 91 actors, 6 emotions; 2,443 crowd listeners who heard the voice alone, about 30 "
    "clips each",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
    license="ODbL-1.0",
    axes=("listener", "speaker"),
    how_to_get="git lfs clone it; --root is the clone",
)

CHOICES = (
    "simulated:N (N realistic listeners over the real votes), simulated-strong:N (listeners who differ far "
    "more than people do), votes (the real votes, for `perser ceiling`) or intended (the acted emotion)"
)


def read_cremad(root: Path, listeners: str = "responses", seed: int = 0) -> Listing:
    """Read CREMA-D from the folder that holds `AudioWAV/`.

    Args:
        root: The unpacked corpus.
        listeners: `responses` (the real listeners), `simulated:N` or `simulated:N:M` (N realistic listeners
            over the real voice-only votes, with M clips each, or all clips), `simulated-strong:N` or
            `simulated-strong:N:M` (listeners who differ far more than people do), `votes` (the real
            voice-only votes, whose listeners are not known), or `intended` (the acted emotion).
        seed: Of the simulated listeners. Adding listeners does not change the first ones.
    """
    listing = ABOUT.new_listing("cremad", EMOTIONS, root / "AudioWAV")
    _list_clips(root, listing)
    simulated = SIMULATED.fullmatch(listeners)
    if listeners == "responses":
        _add_responses(root, listing)
    elif listeners == "votes":
        _add_votes(root, listing)
    elif listeners == INTENDED:
        listing.annotations = [
            Annotation(row.utterance_id, INTENDED, (_acted_emotion(row.utterance_id),))
            for row in listing.utterances
        ]
    elif simulated:
        name, count, clips = simulated.groups()
        kind = STRONG if name == "simulated-strong" else REALISTIC
        _add_simulated(root, listing, kind, int(count), int(clips) if clips else None, seed)
    else:
        raise UserError(f"--listeners {listeners} is unknown to cremad: give responses, {CHOICES}")
    return listing


def _list_clips(root: Path, listing: Listing) -> None:
    files = list(audio_files(root, "AudioWAV/*"))
    check_layout(files, root, "CREMA-D", "audio in AudioWAV/")
    for path in files:
        clip = CLIP.fullmatch(path.stem)
        if clip is None:
            listing.leave_out(path.name, "not a CREMA-D clip's name")
            continue
        actor, sentence, _ = clip.groups()
        listing.utterances.append(Utterance(path.stem, path.name, actor, "1", SENTENCES[sentence]))


def _acted_emotion(clip: str) -> str:
    return CODES[clip.split("_")[2]]


def _add_responses(root: Path, listing: Listing) -> None:
    path = root / RESPONSES
    if not path.is_file():
        raise UserError(f"{path} (the real listeners) is not there: give --listeners {CHOICES}")
    for line, row in read_rows(path, ("localid", "queryType", "clipName", "respEmo")):
        if row["queryType"] != VOICE_ONLY:
            continue
        if row["respEmo"] not in LETTERS:
            reason = f"respEmo '{row['respEmo']}' is none of {', '.join(LETTERS)}"
            listing.leave_out(f"{RESPONSES}:{line}", reason)
            continue
        listing.annotations.append(Annotation(row["clipName"], row["localid"], (LETTERS[row["respEmo"]],)))


def _add_simulated(
    root: Path, listing: Listing, kind: ListenerKind, count: int, clips: int | None, seed: int
) -> None:
    """Add listeners. Each has their own random stream, so that more of them do not change the first."""
    votes = _votes(root, listing)
    names = sorted(votes)
    if not names:
        raise UserError(f"{root / VOTES} has no voice-only vote for any clip of AudioWAV/: is it complete?")
    if clips is not None and clips > len(names):
        raise UserError(f"--listeners asks for {clips} clips a listener, but only {len(names)} have votes")
    emotions = EmotionSet(EMOTIONS)
    counts = np.stack([votes[name] for name in names])
    style_rng, label_rng, share_rng = np.random.default_rng(seed).spawn(3)
    if kind is REALISTIC:
        shares = CREMAD_VOICE.draw(
            counts, [EMOTIONS.index(_acted_emotion(name)) for name in names], share_rng
        )
    else:  # as in version 0.1.0
        shares = counts / counts.sum(axis=1, keepdims=True)
    drawn = kind.listeners(count, emotions, shares, style_rng)
    for listener, rng in zip(drawn, label_rng.spawn(count), strict=True):
        heard = np.sort(rng.permutation(len(names))[:clips])
        listing.annotations += [
            Annotation(names[clip], listener.name, emotions.words(labels))
            for clip, labels in zip(heard, annotate(listener, shares[heard], rng), strict=True)
        ]
    listing.simulated = True
    listing.name = "cremad-simulated-strong" if kind is STRONG else "cremad-simulated"
    listing.truth = ListenerTruth(
        kind.name, {listener.name: listener for listener in drawn}, dict(zip(names, shares, strict=True))
    )
    each = "all clips" if clips is None else f"{clips} clips each"
    listing.notes += [
        f"The listeners are simulated: {count} {kind.name} ones. They answer by CREMA-D's real voice-only "
        f"votes ({each}, seed {seed}).",
        *describe(kind, drawn, emotions, shares),
    ]


def _add_votes(root: Path, listing: Listing) -> None:
    """Add each vote as an answer of a listener that is not known."""
    for name, votes in _votes(root, listing).items():
        emotions = np.repeat(EMOTIONS, votes.astype(int)).tolist()
        listing.annotations += [
            Annotation(name, f"{UNKNOWN_LISTENER}-{number}", (emotion,))
            for number, emotion in enumerate(emotions, start=1)
        ]
    listing.notes.append("the listeners are not known: each vote is an answer of somebody")


def _votes(root: Path, listing: Listing) -> dict[str, np.ndarray]:
    """Return the voice-only votes of each listed clip, float64 (num_emotions,).

    Rows without a clip are left out by name. Clips without votes stay without annotation.
    """
    path = root / VOTES
    check_layout(path.is_file(), root, "CREMA-D", VOTES)
    listed = {row.utterance_id for row in listing.utterances}
    votes: dict[str, np.ndarray] = {}
    for line, row in read_rows(path, ("", "fileName", *LETTERS)):
        try:
            if int(row[""]) not in VOICE_ONLY_ROWS:
                continue
            count = np.array([float(row[letter]) for letter in LETTERS])
        except (TypeError, ValueError):
            count = np.zeros(len(LETTERS))
        if row["fileName"] not in listed:
            listing.leave_out(f"{VOTES}:{line} ({row['fileName']})", "votes without a clip")
        elif not (count.min() >= 0 and 0 < count.sum() < np.inf):
            listing.leave_out(f"{VOTES}:{line}", "its votes are not counts")
        else:
            votes[row["fileName"]] = count
    return votes


CREMAD = CorpusReader(read_cremad, ABOUT)
