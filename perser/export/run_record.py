"""Read from a run's files what one of its models was trained on and how it was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.io.checksums import weights_sha256
from perser.io.json_files import read_json
from perser.personalizer import ablation_folder
from perser.route import Exported

NO_RUN = "it was exported without the run that trained it"


@dataclass(frozen=True)
class RunRecord:
    """What a run says about one of its models.

    Args:
        corpus: The card of the training corpus (at least `name`); empty where unknown.
        persons: How many training persons there were, and what a person is; None where unknown.
        meta: The `meta` of results.json; empty where nothing was measured.
        rows: The model's rows of results.json, followed by those of the trivial methods.
        unmeasured: Why there are no rows.
    """

    corpus: dict[str, Any] = field(default_factory=dict)
    persons: tuple[int, str] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = ()
    unmeasured: str = NO_RUN


def record_of(folder: Path, run: Path | None, exported: Exported) -> RunRecord:
    """Return what a run says about the model in `folder`.

    What it says about other weights or other training persons is left out.

    Args:
        folder: The model's folder.
        run: The run's folder; when None, `RUN` where the model is `RUN/models/NAME`.
        exported: What the model's route says about it.

    Raises UserError where `run` is no folder.
    """
    if run is not None and not run.is_dir():
        raise UserError(f"run: {run} is not there: give the folder that holds results.json")
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
    if path is None or results is None:
        return {}, (), "the run that trained it has no results.json"
    origins = (read_json(path.with_name("provenance.json")) or {}).values()
    digest = weights_sha256(folder)
    names = {name for origin in origins for name, known in origin["weights"].items() if known == digest}
    own = [row for row in results["rows"] if any(_uses(row["method"], name, exported) for name in names)]
    if not own:
        return {}, (), "the results of the run that trained it are not of these weights"
    trivial = [row for row in results["rows"] if row["route"] == "trivial"]
    return results["meta"], (*own, *trivial), ""


def _uses(method: str, measured: str, exported: Exported) -> bool:
    """Return whether a method of a comparison uses the model in the folder `measured` there, such as
    `meta-perser` or its ablation `meta-perser-no-lslr`."""
    numbered, _, ablation = method.partition("+")[0].partition(":")
    name = re.sub(r"-\d+$", "", numbered)  # speech-lm-8
    return any(
        name in methods and measured == ablation_folder(folder, ablation or None)
        for folder, methods in exported.methods.items()
    )


def _existing(name: str, *folders: Path) -> Iterator[Path]:
    return (folder / name for folder in folders if (folder / name).is_file())
