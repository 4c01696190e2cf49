"""nEMO (Christop 2024): nine actors say ninety Polish sentences in six emotions.

data.tsv                  file_id, emotion, raw_text, normalized_text, speaker_id, gender, age
samples/EB0_anger_1.wav   the file_id: speaker, emotion, sentence
"""

from __future__ import annotations

from pathlib import Path

from perser.corpora.listing import About, CorpusReader, Listing, Utterance, check_layout
from perser.corpora.published_tables import read_rows

WORDS = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}

EMOTIONS = tuple(WORDS.values())

ABOUT = About(
    what="acted Polish, 9 actors, 6 emotions; the one label is what the actor meant",
    source="https://github.com/amu-cai/nEMO",
    license="CC-BY-NC-SA-4.0",
    axes=("speaker",),
    how_to_get="git clone it; --root is the clone",
)


def read_nemo(root: Path) -> Listing:
    """Read nEMO from the folder that holds `data.tsv` and `samples/`.

    Args:
        root: The unpacked corpus.
    """
    listing = ABOUT.new_listing("nemo", EMOTIONS, root / "samples")
    check_layout((root / "samples").is_dir(), root, "nEMO", "samples/")
    for line, row in read_rows(root / "data.tsv", ("file_id", "emotion", "raw_text", "speaker_id")):
        emotion = WORDS.get(row["emotion"])
        if emotion is None or not row["file_id"] or not row["speaker_id"]:
            reason = "no file_id or speaker_id" if emotion else f"unknown emotion '{row['emotion']}'"
            listing.leave_out(f"data.tsv:{line}", reason)
            continue
        utterance = Utterance(
            Path(row["file_id"]).stem, row["file_id"], row["speaker_id"], "1", row["raw_text"]
        )
        listing.add_intended(utterance, emotion)
    return listing


NEMO = CorpusReader(read_nemo, ABOUT)
