"""The corpora in `corpora`: those that an experiment joins into the one that it trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiments.other_corpora import check_entry, described, entry_name, identity_of, read_entry
from perser.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.experiments.stages import Stages

KEY = "corpora"

OWN_KEYS = ("folder", "weight")
"""What an entry may say beside the options of `perser prepare`."""


@dataclass(frozen=True)
class JoinedCorpus:
    """One of the corpora that are joined.

    Args:
        name: Of its folder in the run.
        source: A prepared folder; None where it is prepared in the run.
        prepare: The options of `perser prepare` otherwise.
        weight: How often its persons are drawn, in comparison with the others.
        folder: Where it is prepared.
    """

    name: str
    source: Path | None
    prepare: Mapping[str, Any] | None
    weight: float
    folder: Path

    @property
    def prepared(self) -> Path:
        return self.folder / "corpus" if self.source is None else self.source

    @property
    def identity(self) -> object:
        return identity_of(self.source, self.prepare)

    @property
    def options(self) -> dict[str, Any]:
        """Return what an experiment's results depend on."""
        source = {"folder": self.source} if self.prepare is None else dict(self.prepare)
        return {"name": self.name, "weight": self.weight} | source


def plan_joined(entries: Sequence[str | Mapping[str, Any]], out: Path, seed: int) -> list[JoinedCorpus]:
    """Return the corpora in `corpora`; none where there are no entries.

    Raises UserError for a single one, an entry that is neither a folder nor options of `perser prepare`, or a
    wrong weight.
    """
    from perser.corpora.joined import check_weight

    if len(entries) == 1:
        raise UserError(f"{KEY}: one corpus, give at least two, or `prepare` for one alone")
    planned: list[JoinedCorpus] = []
    for place, entry in enumerate(entries):
        own, source, prepare = read_entry(entry, f"{KEY}[{place}]", seed, OWN_KEYS)
        weight = own.get("weight", 1.0)
        check_weight(weight, f"{place}")
        name = entry_name(source, prepare, [other.name for other in planned])
        folder = out / KEY / name
        if prepare is not None:
            prepare = prepare | {"out": folder / "corpus"}
        planned.append(JoinedCorpus(name, source, prepare, float(weight), folder))
    return planned


def check_joined(joined: Sequence[JoinedCorpus]) -> None:
    """Raise UserError for options that `perser prepare` refuses, or a corpus that is given twice."""
    for corpus in joined:
        check_entry(f"{KEY} ({corpus.name})", corpus.prepare)
    for first, second in combinations(joined, 2):
        if first.identity == second.identity:
            where = described(second.source, second.prepare)
            raise UserError(f"{KEY}: {first.name} is given twice ({where}): leave one out")


def prepare_joined(
    stages: Stages, joined: Sequence[JoinedCorpus], out: Path, outdated: Callable[[Path], str]
) -> None:
    """Prepare the corpora and join them into the folder `out`, as the stage `prepare`.

    `outdated` says which recordings of a prepared corpus have changed; see `Stages.run`.
    """
    from perser.cli.join import join
    from perser.cli.prepare import prepare

    names = []
    for corpus in joined:
        if corpus.prepare is not None:
            names.append(f"{KEY} {corpus.name} prepare")
            stages.run(
                names[-1],
                prepare,
                dict(corpus.prepare),
                sources=("root",),
                alone=True,
                outdated=partial(outdated, corpus.prepared),
            )
    given = {f"source_{corpus.name}": corpus.source for corpus in joined if corpus.source is not None}
    stages.run(
        "prepare",
        _join_only(join),
        {
            "corpora": [corpus.prepared for corpus in joined],
            "weights": [corpus.weight for corpus in joined],
            "out": out,
            **given,
        },
        after=tuple(names),
        sources=tuple(given),
        alone=True,
        outdated=partial(outdated, out),
    )


def _join_only(join: Callable[..., None]) -> Callable[..., None]:
    """Return the command without the options by which the stage knows its sources."""

    def joined(corpora: list[Path], weights: list[float], out: Path, **sources: Path) -> None:
        join(corpora, out, weights)

    return joined
