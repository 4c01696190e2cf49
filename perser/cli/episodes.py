"""perser episodes --corpus DIR --out episodes.json: draw who is tested, on what, from which examples."""

from __future__ import annotations

from pathlib import Path

from perser.episodes.fitting import USUAL, Choice, Fitting
from perser.episodes.sampling import MODES, EnrollmentMode
from perser.episodes.splits import SplitOptions
from perser.io.terminal import counted


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

    Where nothing is said about split, k and q, and the usual ones do not fit a small corpus, smaller ones are
    chosen, or all are tested by models that were trained on another corpus.

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

    Examples:
        perser episodes --corpus runs/mine/corpus --out runs/mine/episodes.json
    """
    from perser.corpora.corpus import Corpus
    from perser.episodes.draw import draw_episodes
    from perser.io.files import check_outputs

    check_outputs(files={"out": out})
    loaded, chosen, notes = Corpus.load(corpus), Choice(split, k, q), []
    if chosen == USUAL and largest_k is None and mode in MODES:  # several files with one largest K must agree
        fitting = Fitting(loaded, mode)
        chosen = fitting.default() or USUAL
        notes = _notes(chosen, fitting)
    drawn = draw_episodes(loaded, chosen.split, chosen.k, chosen.q, seeds, largest_k, validation_seeds, mode)
    drawn.save(out)
    tested = {episode.person for episode in drawn.episodes}
    print(
        f"{out}: {counted(len(drawn.episodes), 'episode')} of {counted(len(tested), drawn.person_axis)}, ",
        end="",
    )
    print(f"K={drawn.k}, Q={drawn.q}", *notes, sep="\n  ")
    needed = (largest_k or drawn.k) + drawn.q
    for person, count in drawn.left_out.items():
        print(f"  left out: {person} has {counted(count, 'annotation')}, too few for K + Q = {needed}")


def _notes(chosen: Choice, fitting: Fitting) -> list[str]:
    """Return what to say about options that were chosen for the user; nothing about the usual ones."""
    if chosen == USUAL:
        return []
    notes = [f"a small corpus: drawn with {chosen.options_unlike(USUAL)} (give your own to change that)"]
    if chosen.split.is_test_set:
        notes.append("everyone is tested and no one is trained on: for models trained on another corpus")
        if (other := fitting.to_train()) is not None:
            notes.append(f"to train on it as well: {other.options_unlike(USUAL)}")
    return notes
