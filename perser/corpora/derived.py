"""Write a prepared corpus that is made from another one, so that models which know other emotions can be
measured on it. Its recordings stay where they are and are not read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perser.corpora.annotations import Annotations
from perser.corpora.corpus import CARD, CheckedRecording, Corpus, write_checked
from perser.corpora.listing import Annotation, Listing, PersonAxis, Utterance
from perser.errors import UserError
from perser.io.files import atomic_folder
from perser.labels import Emotions, EmotionSet

ANYWHERE = Path("/")
"""The audio root of corpora whose recordings have absolute paths."""


def write_with_emotions(
    corpus: Corpus, emotions: EmotionSet | None, axis: PersonAxis, out: Path, name: str, among: str
) -> None:
    """Write a corpus with another emotion set to the folder `out`: emotions are matched by name.

    What has an emotion that is not in the set is left out, and counted in the corpus card. On the listener
    axis that is each such answer. On the speaker axis it is each utterance that the listeners together gave
    such an emotion, and the remaining answers that name one.

    Args:
        corpus: The corpus.
        emotions: The emotion set; None: the corpus's own.
        axis: Who a person is.
        out: The folder; a prepared corpus there is replaced.
        name: What the corpus is called in results.
        among: What has these emotions, for a note.

    Raises UserError if fewer than two of the emotions are known.
    """
    kept, left_out = list(corpus.annotations), Counter[str]()
    if emotions is not None:
        check_common(corpus.name, corpus.emotions.names, among, emotions.names)
        kept, left_out = _answerable(corpus, emotions, axis)
    answered = {annotation.utterance_id for annotation in kept}
    rows = {key: row for key, row in corpus.utterances.items() if key in answered}
    listing = replace(
        _empty_like(corpus, name, corpus.emotions.names if emotions is None else emotions.names),
        annotations=kept,
        dropped={f"{what} ({among} has no such emotion)": count for what, count in sorted(left_out.items())},
    )
    if left_out:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
        listing.notes.append(f"{name}: left out, because {among} has no such emotion: {counts}")
    write_derived(listing, known_recordings(corpus, rows), out)


def check_common(name: str, own: Emotions, other_name: str, others: Emotions) -> None:
    """Raise UserError if two corpora have fewer than two emotions in common, by name."""
    common = [emotion for emotion in own if emotion in others]
    if len(common) < 2:
        shared = f"only '{common[0]}'" if common else "no emotion"
        raise UserError(
            f"{name} ({', '.join(own)}) and {other_name} ({', '.join(others)}) have {shared} in common: "
            "rename the emotions in one of them, or measure under open labels (--test_labels open)"
        )


def known_recordings(
    corpus: Corpus, rows: Mapping[str, Utterance]
) -> dict[str, tuple[Utterance, CheckedRecording]]:
    """Return these utterances of a corpus with absolute paths and what is known of their recordings."""
    states = corpus.recordings.files.states()
    known = {}
    for key, row in rows.items():
        if row.audio not in states:
            raise UserError(
                f"{corpus.recordings.path(key)} cannot be read: put it back or prepare {corpus.folder} again"
            )
        moved = replace(row, audio=corpus.recordings.path(key).absolute().as_posix())
        known[key] = moved, CheckedRecording(corpus.recordings.duration(key), states[row.audio])
    return known


def write_derived(
    listing: Listing, recordings: Mapping[str, tuple[Utterance, CheckedRecording]], out: Path
) -> None:
    """Write a corpus of recordings that are known to `out`, in one step."""
    with atomic_folder(out, CARD) as folder:
        write_checked(listing, folder, dict(sorted(recordings.items())))


def _empty_like(corpus: Corpus, name: str, emotions: Emotions) -> Listing:
    card: Mapping[str, Any] = corpus.card
    return Listing(
        name=name,
        emotions=emotions,
        audio_root=ANYWHERE,
        utterances=[],
        annotations=[],
        source=card["source"],
        license=card["license"],
        namespace=card.get("namespace", ""),
        simulated=card["simulated"],
        notes=list(card["notes"]),
    )


def _answerable(
    corpus: Corpus, emotions: EmotionSet, axis: PersonAxis
) -> tuple[list[Annotation], Counter[str]]:
    """Return the annotations that can be given in an emotion set, and counts of the others, by emotion."""
    unknown = set(corpus.emotions.names) - set(emotions.names)
    others = {labels: _named(labels, unknown) for labels in {row.emotions for row in corpus.annotations}}
    if axis == "listener":
        lacking = [others[row.emotions] for row in corpus.annotations if others[row.emotions]]
        kept = [row for row in corpus.annotations if not others[row.emotions]]
        return kept, Counter(f"answers of {what}" for what in lacking)
    aggregated = Annotations.of(corpus.annotations).aggregated(corpus.emotions)
    lost = {name: what for name, labels in aggregated.items() if (what := _named(labels, unknown))}
    counts = Counter(f"utterances of {what}" for what in lost.values())
    return [
        row for row in corpus.annotations if row.utterance_id not in lost and not others[row.emotions]
    ], counts


def _named(labels: Sequence[str], unknown: Collection[str]) -> str:
    return " and ".join(label for label in labels if label in unknown)
