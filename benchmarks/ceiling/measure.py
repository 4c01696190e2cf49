"""Everything that `perser ceiling` says of a corpus, as the content of ceiling.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.ceiling.agreement import measure_agreement
from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.consensus import measure_ceiling
from benchmarks.ceiling.ladder import measure_ladder
from benchmarks.ceiling.sentence import sentence
from perser.corpora.corpus import Corpus
from perser.errors import UserError
from perser.io.json_files import read_json, write_json

FORMAT = "perser-ceiling-1"

UNKNOWN = (
    "The corpus does not say who gave which answer, so these cannot be computed: each listener's agreement "
    "with the others, the ladder of what is a listener's own, and how many labels it takes to learn that."
)

TOO_FEW = (
    "Fewer than two known listeners have two answers that can be compared with others', so these cannot be "
    "computed: the ladder of what is a listener's own, and how many labels it takes to learn that."
)

NO_LADDER = dict.fromkeys(
    ("ladder", "total", "curve", "consensus", "deviations", "pivot", "gain_by_listener", "ladder_listeners")
)


def measure_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return the content of ceiling.json. Raises UserError where nothing can be compared (`Answers.of`)."""
    answers = Answers.of(corpus.annotations, corpus.emotions, str(corpus.folder))
    known = int(answers.is_known.sum())
    ladder = measure_ladder(answers) if known >= 2 else None
    content = {
        "format": FORMAT,
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "simulated": corpus.simulated,
        "notes": corpus.card["notes"],
        "utterances": answers.num_utterances,
        "answers": len(answers.utterance),
        "listeners": known or None,
        "emotions": list(answers.emotions),
        **measure_agreement(answers),
        "ceiling": measure_ceiling(answers),
        **NO_LADDER,
        **(ladder or {}),
        "not_computed": None if ladder else TOO_FEW if known else UNKNOWN,
    }
    return content | {"sentence": sentence(content)}


def measure_corpora(folders: Iterable[Path], out: Path) -> list[dict[str, Any]]:
    """Return the content of ceiling.json for each corpus with listeners that can be compared.

    It is saved in `out` and measured again only if the corpus has changed.
    """
    contents: dict[str, dict[str, Any]] = {}
    for folder in dict.fromkeys(folders):
        corpus = Corpus.load(folder)
        file = out / f"ceiling-{corpus.fingerprint[:12]}.json"
        saved = read_json(file) or {}
        if saved.get("format") != FORMAT or saved.get("corpus_fingerprint") != corpus.fingerprint:
            try:
                saved = measure_corpus(corpus)
            except UserError:  # nobody to compare with, such as where the actors' intentions are the labels
                continue
            write_json(file, saved)
        contents[corpus.fingerprint] = saved
    return list(contents.values())
