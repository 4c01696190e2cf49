"""Measure the methods of a case: run its cells, then write the scores of their predictions to scores.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.aggregate import single_or_distinct
from benchmarks.measuring.answer import confusion, reliability, score_answers
from benchmarks.measuring.cells import Case, run_cells
from benchmarks.measuring.predictions import Predictions
from benchmarks.measuring.scores import MethodScores, Scores
from benchmarks.measuring.speakers import decision_contributions
from benchmarks.measuring.statistics import EpisodeScores
from benchmarks.measuring.thresholds import TUNED, decide_at, macro_f1
from meta_perser.options import CONFIG
from meta_perser.recognizer.model import saved_settings
from perser.distributed import processes
from perser.environment import package_versions
from perser.io.checksums import weights_sha256

SCORES = "scores.json"


def write_scores(
    case: Case, out: Path, resume: bool = True, workers: int = 0, train_seed: int | None = None
) -> None:
    """Measure a case, and write what each method scored on each episode (`Scores`) to the file `out`.

    The predictions are written to a folder beside it. If several processes run, each measures its share of
    the cells, and the main process writes the scores. `workers`: see `run_with_workers`. `train_seed`: the
    seed of the models, where several are measured.
    """
    folder = predictions_of(out, case.limit)
    run_cells(case, folder, resume, workers)
    if processes().is_main_process:
        replace(_scores(case, folder), train_seed=train_seed).save(out)
    processes().wait_for_everyone()


def predictions_of(scores: Path, limit: int | None = None) -> Path:
    """Return the folder of the predictions of a scores file.

    A run with a `limit` has a folder of its own, so that a quick look overwrites nothing that was measured in
    full.
    """
    folder = scores.with_name(scores.stem.replace("scores", "predictions", 1))
    return folder if limit is None else folder.with_name(f"{folder.name}-first-{limit}")


def weights_digests(models: Path) -> dict[str, str]:
    """Return a digest of the weights in each model's folder, by the folder's name.

    Two digests are equal where all numbers are; other files do not count. Folders without weights are left
    out.
    """
    folders = sorted(path for path in models.iterdir() if path.is_dir()) if models.exists() else []
    digests = {folder.name: weights_sha256(folder) for folder in folders}
    return {name: digest for name, digest in digests.items() if digest is not None}


def _scores(case: Case, folder: Path) -> Scores:
    episode_file = case.episode_file
    predictions: dict[str, list[Predictions]] = {}
    for cell in case.cells:
        predictions.setdefault(cell.method, []).append(Predictions.load(folder / cell.file))
    return Scores(
        corpus=episode_file.corpus,
        scenario=episode_file.setting,
        person_axis=episode_file.person_axis,
        encoder=_encoder(case.models),
        k=episode_file.k,
        training_digest=episode_file.training_digest,
        meta=_meta(case, predictions),
        provenance={"weights": weights_digests(case.models)} | _measured_with(predictions),
        methods=tuple(_method_scores(case, cells) for cells in predictions.values()),
        asked_digest=case.episodes_digest,
    )


def _method_scores(case: Case, cells: Sequence[Predictions]) -> MethodScores:
    """Return one method's scores on the episodes of all its cells."""
    answers = [answer for cell in cells for answer in cell.answers]
    episodes = [episode for same_seed in case.episodes_by_seed.values() for episode in same_seed]
    emotions, origin = case.loaded_corpus.emotions, cells[0].origin
    speakers = _speakers(case)
    scores = score_answers(answers, episodes, emotions, speakers)
    peaks = [cell.origin.peak_bytes for cell in cells if cell.origin.peak_bytes is not None]
    return MethodScores(
        method=origin.method,
        route=origin.route,
        adapts=dict(origin.adapts),
        episodes=_with_tuned_f1(cells, scores, case, speakers),
        seconds_personalize=float(np.mean([answer.seconds_personalize for answer in answers])),
        seconds_predict=float(np.mean([answer.seconds_predict for answer in answers])),
        parameters=dict(origin.parameters),
        peak_bytes=max(peaks, default=None),
        confusion=confusion(answers, episodes, emotions).tolist(),
        reliability=reliability(answers, episodes, emotions).tolist(),
    )


def _with_tuned_f1(
    cells: Sequence[Predictions],
    scores: Sequence[EpisodeScores],
    case: Case,
    speakers: Mapping[str, str] | None,
) -> tuple[EpisodeScores, ...]:
    """Return the scores with macro-F1 at the thresholds of each cell, where all cells have some."""
    if any(cell.origin.thresholds is None for cell in cells):
        return tuple(scores)
    answers = [(answer, cell.origin.thresholds) for cell in cells for answer in cell.answers]
    episodes = [episode for same_seed in case.episodes_by_seed.values() for episode in same_seed]
    found = []
    for (answer, thresholds), episode, score in zip(answers, episodes, scores, strict=True):
        labels = case.loaded_corpus.emotions.multi_hot(episode.query_emotions)
        decisions = decide_at(answer.probabilities, thresholds or ())
        by_speaker = dict(score.by_speaker)
        if speakers:
            names = [speakers[utterance] for utterance in episode.query_utterances]
            by_speaker[TUNED] = decision_contributions(labels, decisions, names)["maF1"]
        tuned = {TUNED: macro_f1(labels, decisions)}
        found.append(replace(score, metrics={**score.metrics, **tuned}, by_speaker=by_speaker))
    return tuple(found)


def _speakers(case: Case) -> dict[str, str] | None:
    """Return the speaker of each utterance; None on the speaker axis, where a person is a speaker."""
    if case.episode_file.person_axis == "speaker":
        return None
    utterances = case.loaded_corpus.utterances
    return {utterance_id: utterance.speaker for utterance_id, utterance in utterances.items()}


def _measured_with(predictions: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    """Return the code, machine and versions that the cells were measured with.

    Some cells may come from an earlier run: a value that differs between cells is a list.
    """
    origins = [cell.origin for cells in predictions.values() for cell in cells]
    return {
        name: single_or_distinct(getattr(origin, name) for origin in origins)
        for name in ("commit", "device", "threads", "versions")
    }


def _encoder(models: Path) -> str:
    """Return the name of the encoder that SSL-E was trained on; empty where there is no SSL-E."""
    ssl_e = models / "ssl-e"
    return str(saved_settings(ssl_e)["encoder"]["name"]) if (ssl_e / CONFIG).exists() else ""


def _test_set_notes(predictions: Mapping[str, Sequence[Predictions]]) -> list[str]:
    """Return a note on the models that were trained on other corpora, if there are any."""
    others: dict[str, set[str]] = {}
    for cells in predictions.values():
        for model, corpora in (pair for cell in cells for pair in cell.origin.other_corpora.items()):
            others.setdefault(corpora, set()).add(model)
    return [
        f"trained on another corpus ({corpora}): {', '.join(sorted(models))}; for them this corpus is a test "
        "set, as they have met no recording, speaker or listener of it"
        for corpora, models in sorted(others.items())
    ]


def _trained_on(case: Case, predictions: Mapping[str, Sequence[Predictions]]) -> str:
    """Return the corpus that the models were trained on; empty where that is not known."""
    cells = [cell for same in predictions.values() for cell in same]
    if case.episode_file.split.persons["train"]:
        return case.loaded_corpus.name
    return ", ".join(dict.fromkeys(name for cell in cells for name in cell.origin.other_corpora.values()))


def _meta(case: Case, predictions: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    corpus, episode_file = case.loaded_corpus, case.episode_file
    return {
        "corpus": corpus.name,
        "simulated": corpus.simulated,
        "notes": corpus.card["notes"] + _test_set_notes(predictions),
        "emotions": list(corpus.emotions.names),
        "q": episode_file.q,
        "seeds": sorted(case.episodes_by_seed),
        "limit": case.limit,
        "persons_left_out": episode_file.left_out,
        "trained_on": _trained_on(case, predictions),
        "mode": episode_file.mode,
        "training_persons": len(episode_file.split.persons["train"]),
        "corpus_fingerprint": corpus.fingerprint,
        "versions": package_versions(),
    }
