"""What a run says of one of its models: on what it was trained, and what was measured of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.io.files import weights_sha256
from perser.io.json_files import read_json
from perser.route import Exported

NO_RUN = "it was exported without the run that trained it"


@dataclass(frozen=True)
class RunRecord:
    """What is known.

    Args:
        corpus: Of the training, as its card has it (at least `name`); empty where unknown.
        persons: Training persons, and what a person is; None where unknown.
        meta: Of what was measured, as results.json has it; empty where nothing was.
        rows: Its rows of results.json, and those of the trivial methods beside them.
        unmeasured: Why there are none.
    """

    corpus: dict[str, Any] = field(default_factory=dict)
    persons: tuple[int, str] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = ()
    unmeasured: str = NO_RUN


def record_of(folder: Path, run: Path | None, exported: Exported) -> RunRecord:
    """The record of the model in `folder`, which `exported` describes, in a run's folder (`RUN` where the
    model is `RUN/models/NAME`, when None). What the run says of other weights or other training persons is
    left out.

    Raises UserError where `run` is no folder.
    """
    if run is not None and not run.is_dir():
        raise UserError(f"run: {run} is not there: give the folder that has results.json")
    run = folder.resolve().parent.parent if run is None else run
    corpus, persons = _training(run, exported.trained_on)
    meta, rows, reason = _measured(run, folder, exported)
    return RunRecord(corpus, persons, meta, rows, reason)


def _training(run: Path, trained_on: str | None) -> tuple[dict[str, Any], tuple[int, str] | None]:
    path = next(_existing("episodes.json", run, run.parent), None)
    if path is None or trained_on is None:
        return {}, None
    drawn = EpisodeFile.load(path)
    if drawn.training_digest != trained_on:
        return {}, None
    card = next(map(read_json, _existing("corpus/corpus.json", run, run.parent)), None) or {}
    known = card if card.get("fingerprint") == drawn.corpus_fingerprint else {"name": drawn.corpus}
    return known, (len(drawn.split.persons["train"]), drawn.person_axis)


def _measured(
    run: Path, folder: Path, exported: Exported
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...], str]:
    path = next(_existing("results.json", run, run / "results", run.parent), None)
    results = None if path is None else read_json(path)
    if results is None:
        return {}, (), "the run that trained it has no results.json"
    origins = (read_json(path.with_name("provenance.json")) or {}).values()
    digest = weights_sha256(folder)
    names = {name for one in origins for name, known in one["weights"].items() if known == digest}
    own = [row for row in results["rows"] if any(_is_of(row["method"], one, exported) for one in names)]
    if not own:
        return {}, (), "the results of the run that trained it are not of these weights"
    beside = [row for row in results["rows"] if row["route"] == "trivial"]
    return results["meta"], (*own, *beside), ""


def _is_of(method: str, measured: str, exported: Exported) -> bool:
    """Whether a method of a comparison is the model in the folder `measured` there, such as `meta-perser`
    or its variant `meta-perser-no-lslr`."""
    numbered, _, ablation = method.partition("+")[0].partition(":")
    name = re.sub(r"-\d+$", "", numbered)  # speech-lm-8
    return any(
        name in methods and measured == (f"{folder}-{ablation}" if ablation else folder)
        for folder, methods in exported.methods.items()
    )


def _existing(name: str, *folders: Path) -> Iterator[Path]:
    return (folder / name for folder in folders if (folder / name).is_file())
