"""perser join --corpora [DIR, DIR] --out DIR: join prepared corpora, to train on all of them."""

from __future__ import annotations

from pathlib import Path

from perser.errors import UserError
from perser.io.terminal import counted


def join(corpora: list[Path], out: Path, weights: list[float] | None = None) -> None:
    """Join prepared corpora into one, so that a model is trained on all of them.

    Their emotion sets are united by name. The recordings stay where they are.

    Args:
        corpora: folders of the prepared corpora.
        out: the folder of the joined corpus; an older one there is replaced.
        weights: how often persons of each corpus are drawn in training, all of them together, in comparison
            with those of the others, such as [2, 1]; none: equally often.

    Examples:
        perser join --corpora '[runs/cremad/corpus, runs/mine/corpus]' --out runs/both/corpus
    """
    from perser.corpora.corpus import CARD, Corpus
    from perser.corpora.joined import Source, join_corpora
    from perser.io.files import check_output

    check_output(out, CARD)
    if out.resolve() in [folder.resolve() for folder in corpora]:
        raise UserError(f"out: {out} is one of the corpora, which is still needed: give another folder")
    chosen = [1.0] * len(corpora) if weights is None else list(weights)
    if len(chosen) != len(corpora):
        raise UserError(f"weights: {len(chosen)} for {len(corpora)} corpora: give one for each")
    join_corpora(
        [Source(Corpus.load(folder), weight) for folder, weight in zip(corpora, chosen, strict=True)], out
    )
    card = Corpus.load(out, check_files=False).card
    counts = card["counts"]
    print(
        f"{out}: {card['name']}, {counted(counts['utterances'], 'utterance')} ({card['hours']:.2f} hours) "
        f"of {counted(counts['speakers'], 'speaker')}"
    )
    print(f"  emotions: {', '.join(card['emotions'])}")
