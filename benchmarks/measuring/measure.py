"""One file of episodes: cells of predictions, and the scores that come of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.answer import confusion, marks, reliability
from benchmarks.measuring.cells import Case, run_cells
from benchmarks.measuring.predictions import Predictions
from benchmarks.measuring.provenance import one_or_distinct, weights_digests
from benchmarks.measuring.scores import MethodScores, Scores
from meta_perser.options import CONFIG
from meta_perser.recognizer.model import extra_of
from perser.distributed import processes
from perser.environment import package_versions

SCORES = "scores.json"


def write_scores(case: Case, out: Path, resume: bool = True) -> None:
    """Measure a case and keep what each method scored on each episode (`Scores`) in the file `out`; the
    predictions stay in the folder beside it.

    Where several processes run, each measures its share, and the main one writes.
    """
    folder = predictions_of(out, case.limit)
    run_cells(case, folder, resume)
    if processes().is_main_process:
        _scores(case, folder).save(out)
    processes().wait_for_everyone()


def predictions_of(scores: Path, limit: int | None = None) -> Path:
    """The folder of the predictions that a file of scores was computed from. Those of a few episodes alone
    have their own, so that a quick look costs nothing that was measured in full."""
    folder = scores.with_name(scores.stem.replace("scores", "predictions", 1))
    return folder if limit is None else folder.with_name(f"{folder.name}-first-{limit}")


def _scores(case: Case, folder: Path) -> Scores:
    drawn = case.drawn
    kept: dict[str, list[Predictions]] = {}
    for cell in case.cells:
        kept.setdefault(cell.method, []).append(Predictions.load(folder / cell.file))
    return Scores(
        corpus=drawn.corpus,
        scenario=drawn.setting,
        person_axis=drawn.person_axis,
        encoder=_encoder(case.models),
        k=drawn.k,
        training_digest=drawn.training_digest,
        meta=_meta(case),
        provenance={"weights": weights_digests(case.models)} | _measured_with(kept),
        methods=tuple(_method(case, found) for found in kept.values()),
        asked_digest=case.asked_digest,
    )


def _method(case: Case, found: Sequence[Predictions]) -> MethodScores:
    """One method's cells put together."""
    given = [answer for one in found for answer in one.answers]
    asked = [episode for same in case.asked.values() for episode in same]
    emotions, origin = case.prepared.emotions, found[0].origin
    peaks = [one.origin.peak_bytes for one in found if one.origin.peak_bytes is not None]
    return MethodScores(
        method=origin.method,
        route=origin.route,
        adapts=dict(origin.adapts),
        episodes=marks(given, asked, emotions),
        seconds_personalize=float(np.mean([one.seconds_personalize for one in given])),
        seconds_predict=float(np.mean([one.seconds_predict for one in given])),
        parameters=dict(origin.parameters),
        peak_bytes=max(peaks, default=None),
        confusion=confusion(given, asked, emotions).tolist(),
        reliability=reliability(given, asked, emotions).tolist(),
    )


def _measured_with(kept: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    """Which code, machine and versions the cells come from, some of which an earlier run may have left; a
    list where they differ."""
    origins = [one.origin for found in kept.values() for one in found]
    return {
        name: one_or_distinct(getattr(one, name) for one in origins)
        for name in ("commit", "device", "threads", "versions")
    }


def _encoder(models: Path) -> str:
    """What SSL-E started from; empty where it is not there."""
    ssl_e = models / "ssl-e"
    return str(extra_of(ssl_e)["encoder"]["name"]) if (ssl_e / CONFIG).exists() else ""


def _meta(case: Case) -> dict[str, Any]:
    corpus, drawn = case.prepared, case.drawn
    return {
        "corpus": corpus.name,
        "simulated": corpus.simulated,
        "notes": corpus.card["notes"],
        "emotions": list(corpus.emotions.names),
        "q": drawn.q,
        "seeds": sorted(case.asked),
        "limit": case.limit,
        "persons_left_out": drawn.left_out,
        "training_persons": len(drawn.split.persons["train"]),
        "corpus_fingerprint": corpus.fingerprint,
        "versions": package_versions(),
    }
