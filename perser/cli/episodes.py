"""perser episodes --corpus DIR --out episodes.json: draw who is tested, on what, from which examples."""

from __future__ import annotations

from pathlib import Path

from perser.episodes.sampling import EnrollmentMode
from perser.episodes.splits import SplitOptions


def episodes(
    corpus: Path,
    out: Path,
    split: SplitOptions = SplitOptions(),
    k: int = 32,
    q: int = 128,
    seeds: int = 10,
    largest_k: int | None = None,
    validation_seeds: int = 1,
    mode: EnrollmentMode = "any",
) -> None:
    """Split a prepared corpus and draw the episodes that every method is measured on.

    Args:
        corpus: a prepared corpus (see `perser prepare`).
        out: the episodes file to write (JSON).
        split: the scenario, the fold, and who is held out.
        k: enrollment pairs in a support.
        q: utterances in a query.
        seeds: episodes of each test person.
        largest_k: the largest K of several files to be compared: with the same one they have the same
            queries, and a smaller support is the beginning of a larger one; none: k.
        validation_seeds: episodes of each validation person; checkpoints, rates and strengths are chosen on
            them.
        mode: which emotions a support has: any; restricted: only some of the person's, while queries have all
            of them; missing: only some, while queries have the others.
    """
    from perser.corpora.corpus import Corpus
    from perser.episodes.draw import draw_episodes

    drawn = draw_episodes(Corpus.load(corpus), split, k, q, seeds, largest_k, validation_seeds, mode)
    drawn.save(out)
    tested = {episode.person for episode in drawn.episodes}
    print(f"{out}: {len(drawn.episodes)} episodes of {len(tested)} {drawn.person_axis}s, K={k}, Q={q}")
    for person, count in drawn.left_out.items():
        print(f"  left out: {person} has {count} annotations, too few for K + Q = {(largest_k or k) + q}")
