"""perser bench --corpus DIR --episodes episodes.json --models DIR --out DIR

Every method on the same episodes: personalise to each support, predict each query, score, compare.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.report import write_report
from benchmarks.statistics import EpisodeScores, by_episode, intervals, paired_difference
from perser.cli import run_command
from perser.corpora.corpus import Corpus
from perser.episodes import EpisodeFile
from perser.folders import write_text_whole
from perser.metrics import score_episode
from perser.personalizer import Personalizer, RouteContext, build_method, check_method
from perser.training import progress

METHODS = (
    "random",
    "nothing",
    "most-frequent",
    "entire-zero",
    "prior-shift",
    "entire-few",
    "head-few",
    "meta-perser",
    "speech-lm-0",
    "speech-lm-8",
    "speech-lm-32",
)
COMPARED = ("maF1", "miF1", "label_accuracy", "balanced_accuracy")
PACKAGES = ("torch", "transformers", "peft", "accelerate", "scikit-learn", "numpy")


def bench(
    corpus: Path,
    episodes: Path,
    models: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    methods: list[str] = list(METHODS),  # noqa: B006 (the command line shows it)
    title: str = "Personalised speech emotion recognition",
) -> None:
    """Measure methods on the same episodes and write results.json, a report and plots.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file.
        models: the folder that holds what was trained: ssl-e, linear, multi, meta-perser, speech-lm.
        out: folder for results.json, report.md, report.html and plots.
        cache: folder of the feature cache.
        methods: which methods, by name; speech-lm-N reads N enrolment pairs.
        title: heads the report.
    """
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    drawn.check_corpus(prepared)
    context = RouteContext(
        prepared.emotions, prepared.recordings, Path(models), Path(cache), drawn.training_digest
    )
    for name in methods:
        check_method(name, drawn.k)
    built = {name: build_method(name, context) for name in methods}
    measured = {name: measure(name, method, drawn, prepared) for name, method in built.items()}
    results = {
        "meta": _meta(title, prepared, drawn),
        "rows": [_row(name, built[name], measured[name], drawn) for name in methods],
        "differences": _differences(
            {name: one["scores"] for name, one in measured.items()},
            {name for name, one in built.items() if one.route == "trivial"},
            drawn,
        ),
    }
    write_text_whole(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_report(results, out)


def measure(name: str, method: Personalizer, drawn: EpisodeFile, corpus: Corpus) -> dict[str, Any]:
    """One method on every test episode: scores, and mean seconds to personalise and a query utterance."""
    scores, personalize, predict = [], 0.0, 0.0
    with progress(len(drawn.episodes), f"bench {name}") as shown:
        for episode in drawn.episodes:
            started = time.perf_counter()
            predictor = method.personalize(episode.support)
            personalised = time.perf_counter()
            probabilities = predictor.predict_proba(episode.query_utterances)
            predict += (time.perf_counter() - personalised) / len(episode.query_utterances)
            personalize += personalised - started
            targets = corpus.emotions.multi_hot(episode.query_emotions)
            scores.append(
                EpisodeScores(episode.person, episode.episode_id, score_episode(probabilities, targets))
            )
            shown.update()
    count = len(drawn.episodes)
    return {"scores": scores, "personalize": personalize / count, "predict": predict / count}


def _row(name: str, method: Personalizer, measured: Mapping[str, Any], drawn: EpisodeFile) -> dict[str, Any]:
    return {
        "method": name,
        "route": method.route,
        "adapts": method.describe(),
        "corpus": drawn.corpus,
        "scenario": drawn.scenario,
        "person_axis": drawn.person_axis,
        "k": drawn.k,
        "episodes": len(drawn.episodes),
        "persons": len({episode.person for episode in drawn.episodes}),
        "metrics": {metric: asdict(one) for metric, one in intervals(measured["scores"]).items()},
        "seconds_personalize": round(measured["personalize"], 5),
        "seconds_predict": round(measured["predict"], 6),
    }


def _differences(
    scores: Mapping[str, Sequence[EpisodeScores]], trivial: set[str], drawn: EpisodeFile
) -> list[dict[str, Any]]:
    """Every pair with at least one method that hears the speech: the one listed later minus the other."""
    return [
        {"a": a, "b": b, "scenario": drawn.scenario, "person_axis": drawn.person_axis, "k": drawn.k}
        | {"metric": metric}
        | asdict(paired_difference(by_episode(scores[a], metric), by_episode(scores[b], metric)))
        for b, a in combinations(scores, 2)
        if not {a, b} <= trivial
        for metric in COMPARED
    ]


def _meta(title: str, corpus: Corpus, drawn: EpisodeFile) -> dict[str, Any]:
    return {
        "title": title,
        "corpus": corpus.name,
        "simulated": corpus.simulated,
        "notes": corpus.card["notes"],
        "emotions": list(corpus.emotions.names),
        "q": drawn.q,
        "persons_left_out": drawn.left_out,
        "training_persons": len(drawn.split.persons["train"]),
        "corpus_fingerprint": corpus.fingerprint,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    run_command(bench)
