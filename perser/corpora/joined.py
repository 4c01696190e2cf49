"""Join prepared corpora into one, so that a model is trained on all of them.

The emotion sets are united by name. In the joined corpus the names of utterances, sessions, speakers and
listeners begin with the name of their corpus and a slash, and the corpus card lists the corpora in `parts`.
The recordings stay where they are and are not read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from perser.corpora.content import NO_ONE, Content
from perser.corpora.corpus import Corpus
from perser.corpora.derived import ANYWHERE, known_recordings, write_derived
from perser.corpora.listing import (
    Annotation,
    CorpusPart,
    Listing,
    grouped_by_part,
    is_unknown_listener,
    part_of,
)
from perser.errors import UserError


@dataclass(frozen=True)
class Source:
    """A prepared corpus that is joined with others.

    Args:
        corpus: The corpus.
        weight: How often its persons are drawn in training, all of them together, in comparison with those of
            the other corpora.
    """

    corpus: Corpus
    weight: float = 1.0


def join_corpora(sources: Sequence[Source], out: Path) -> None:
    """Write the corpora as one prepared corpus to the folder `out`, in one step.

    Raises UserError for fewer than two, a weight that is not above 0, one that is given twice, or recordings,
    speakers or listeners that two of them have in common, by name.
    """
    check_sources(sources)
    names = _part_names([source.corpus for source in sources])
    listing = Listing(
        name="+".join(names),
        emotions=_united(source.corpus.emotions.names for source in sources),
        audio_root=ANYWHERE,
        utterances=[],
        annotations=[],
        source="; ".join(dict.fromkeys(source.corpus.card["source"] for source in sources)),
        license="; ".join(dict.fromkeys(source.corpus.card["license"] for source in sources)),
        simulated=any(source.corpus.simulated for source in sources),
    )
    recordings = {}
    for name, source in zip(names, sources, strict=True):
        corpus = source.corpus
        listing.parts.append(CorpusPart(name, corpus.card.get("namespace", ""), float(source.weight)))
        listing.notes += [f"{name}: {note}" for note in corpus.card["notes"]]
        listing.dropped |= {f"{name}: {what}": count for what, count in corpus.card["dropped"].items()}
        listing.annotations += [
            Annotation(f"{name}/{row.utterance_id}", _named(name, row.listener), row.emotions)
            for row in corpus.annotations
        ]
        for key, (row, checked) in known_recordings(corpus, corpus.utterances).items():
            renamed = replace(
                row,
                utterance_id=f"{name}/{key}",
                speaker=_named(name, row.speaker),
                session=f"{name}/{row.session}",
            )
            recordings[renamed.utterance_id] = renamed, checked
    listing.annotations.sort(key=lambda row: (row.utterance_id, row.listener))
    write_derived(listing, recordings, out)


def check_sources(sources: Sequence[Source]) -> None:
    """Raise UserError for what `join_corpora` refuses."""
    if len(sources) < 2:
        raise UserError(f"corpora: {len(sources)} given, give at least two")
    for source in sources:
        check_weight(source.weight, source.corpus.name)
        if source.corpus.parts:
            raise UserError(f"corpora: {source.corpus.folder} is a joined corpus: give its parts themselves")
    contents = [Content.of_all(source.corpus) for source in sources]
    for (first, one), (second, other) in combinations(zip(sources, contents, strict=True), 2):
        folders = first.corpus.folder.resolve(), second.corpus.folder.resolve()
        if folders[0] == folders[1] or one.recordings.keys() == other.recordings.keys():
            raise UserError(
                f"corpora: {first.corpus.folder} and {second.corpus.folder} are the same recordings: "
                "leave one out"
            )
        if shared := one.shared_with(other):
            raise UserError(
                f"corpora: {first.corpus.folder} and {second.corpus.folder} have {shared} in common: "
                "leave these out of one of them"
            )


def check_weight(weight: object, name: str) -> None:
    """Raise UserError for a weight that is not a number above 0."""
    is_usable = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < float("inf")
    if not is_usable:
        raise UserError(f"corpora ({name}): weight: {weight}, give a number above 0")


def person_weights(corpus: Corpus, persons: Sequence[str]) -> np.ndarray | None:
    """Return how likely each person is to be drawn (they sum to 1); None where all are equally likely.

    Persons of a part share its weight evenly.
    """
    if not corpus.parts:
        return None
    weights = {part.name: part.weight for part in corpus.parts}
    parts = [part_of(person) for person in persons]
    shares = np.array([weights[part] / parts.count(part) for part in parts])
    return shares / shares.sum()


def utterances_by_part(corpus: Corpus, utterances: Iterable[str]) -> dict[str, list[str]]:
    """Return the utterances of each part of a joined corpus, by its name; any other corpus is one part."""
    if not corpus.parts:
        return {corpus.name: list(utterances)}
    return grouped_by_part((part.name for part in corpus.parts), utterances)


def _named(part: str, person: str) -> str:
    """Return a person's name in the joined corpus. A name that stands for nobody stays."""
    return person if person in NO_ONE or is_unknown_listener(person) else f"{part}/{person}"


def _united(sets: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(emotion for names in sets for emotion in names))


def _part_names(corpora: Sequence[Corpus]) -> list[str]:
    """Return a name for each part that can begin the name of an utterance, no two alike.

    A corpus from a user's own table is called by its folder.
    """
    chosen: list[str] = []
    for corpus in corpora:
        folder = corpus.folder.resolve()
        own = folder.parent.name if folder.name in ("corpus", "prepared") else folder.name
        name = corpus.name if corpus.card.get("namespace") else own
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "corpus"
        candidates = [plain, *(f"{plain}-{number}" for number in range(2, len(corpora) + 1))]
        chosen.append(next(each for each in candidates if each not in chosen))
    return chosen
