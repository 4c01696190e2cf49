"""Two acted corpora, RAVDESS and EmoDB. Their one listener, `intended`, labels what the actor meant."""

from __future__ import annotations

import re
from pathlib import Path

from perser.corpora.listing import About, CorpusReader, Listing, Utterance, check_layout
from perser.corpora.published_tables import parse_sentences
from perser.io.folders import audio_files

RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
"""In the order of RAVDESS's codes 01 to 08."""

RAVDESS_STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

RAVDESS_CLIP = re.compile(
    r"0[13]-(?P<channel>0[12])-0(?P<emotion>[1-8])-0[12]-(?P<statement>0[12])-0[12]-\d\d"
)

RAVDESS_SONG = "02"

RAVDESS_VIDEO = ".mp4"
"""Suffix of the videos of the same performances. They are skipped: the audio files hold their sound."""

RAVDESS_ABOUT = About(
    what="acted English, 24 actors, 8 emotions; the one label is what the actor meant",
    source="https://zenodo.org/records/1188976",
    license="CC-BY-NC-SA-4.0",
    axes=("speaker",),
    how_to_get="download Audio_Speech_Actors_01-24.zip; --root is the folder with Actor_01/",
)

EMODB_EMOTIONS = ("angry", "bored", "disgust", "fear", "happy", "sad", "neutral")

EMODB_LETTERS = dict(zip("WLEAFTN", EMODB_EMOTIONS, strict=True))

EMODB_SENTENCES = parse_sentences("""
a01 Der Lappen liegt auf dem Eisschrank.
a02 Das will sie am Mittwoch abgeben.
a04 Heute abend könnte ich es ihm sagen.
a05 Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.
a07 In sieben Stunden wird es soweit sein.
b01 Was sind denn das für Tüten, die da unter dem Tisch stehen?
b02 Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.
b03 An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.
b09 Ich will das eben wegbringen und dann mit Karl was trinken gehen.
b10 Die wird auf dem Platz sein, wo wir sie immer hinlegen.
""")

EMODB_CLIP = re.compile(
    rf"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[{''.join(EMODB_LETTERS)}])[a-z]?"
)

EMODB_ABOUT = About(
    what="acted German, 10 actors, 7 emotions; the one label is what the actor meant",
    source="http://emodb.bilderbar.info",
    license="see its site; cite the authors",
    axes=("speaker",),
    how_to_get="download it from its site; --root is the folder with wav/",
)


def read_ravdess(root: Path) -> Listing:
    """Read RAVDESS's speech from the folder that holds `Actor_01/` to `Actor_24/`; songs are dropped.

    Args:
        root: The unpacked corpus, files named modality-channel-emotion-intensity-statement-repetition-actor.
    """
    listing = RAVDESS_ABOUT.new_listing("ravdess", RAVDESS_EMOTIONS, root)
    files = [path for path in audio_files(root, "Actor_*/*") if path.suffix.lower() != RAVDESS_VIDEO]
    check_layout(files, root, "RAVDESS", "audio in Actor_01/, Actor_02/, ...")
    for path in files:
        clip = RAVDESS_CLIP.fullmatch(path.stem)
        audio = path.relative_to(root).as_posix()
        if clip is None:
            listing.leave_out(audio, "not a RAVDESS clip's name")
        elif clip["channel"] == RAVDESS_SONG:
            listing.drop("song")
        else:
            text = RAVDESS_STATEMENTS[clip["statement"]]
            emotion = RAVDESS_EMOTIONS[int(clip["emotion"]) - 1]
            listing.add_intended(Utterance(path.stem, audio, path.parent.name, "1", text), emotion)
    return listing


def read_emodb(root: Path) -> Listing:
    """Read EmoDB (the Berlin Database of Emotional Speech) from the folder that holds `wav/`.

    Args:
        root: The unpacked corpus, files named as in `wav/03a01Fa.wav`.
    """
    listing = EMODB_ABOUT.new_listing("emodb", EMODB_EMOTIONS, root)
    files = list(audio_files(root, "wav/*"))
    check_layout(files, root, "EmoDB", "audio in wav/")
    for path in files:
        clip = EMODB_CLIP.fullmatch(path.stem)
        audio = path.relative_to(root).as_posix()
        if clip is None:
            listing.leave_out(audio, "not an EmoDB clip's name")
        else:
            text = EMODB_SENTENCES.get(clip["sentence"], "")
            emotion = EMODB_LETTERS[clip["emotion"]]
            listing.add_intended(Utterance(path.stem, audio, clip["speaker"], "1", text), emotion)
    return listing


RAVDESS = CorpusReader(read_ravdess, RAVDESS_ABOUT)

EMODB = CorpusReader(read_emodb, EMODB_ABOUT)
