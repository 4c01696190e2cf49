"""perser bench --corpus DIR --episodes episodes.json --models DIR --out DIR

Every method on the same episodes: personalise to each support, predict each query, score, compare.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.pooling import pool
from benchmarks.report import write_report
from benchmarks.scores import MethodScores, Scores
from benchmarks.statistics import EpisodeScores
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
SCORES = "scores.json"
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
    """Measure methods on the same episodes and write scores.json, results.json, a report and plots.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file.
        models: the folder that holds what was trained: ssl-e, linear, multi, meta-perser, speech-lm.
        out: folder for scores.json, results.json, report.md, report.html and plots.
        cache: folder of the feature cache.
        methods: which methods, by name; speech-lm-N reads N enrolment pairs, meta-perser:V stands on
            the model in the subfolder meta-perser-V.
        title: heads the report.
    """
    write_scores(corpus, episodes, models, out / SCORES, cache, methods)
    write_results([out / SCORES], out, title)


def write_scores(
    corpus: Path, episodes: Path, models: Path, out: Path, cache: Path, methods: Sequence[str]
) -> None:
    """Measure methods on the same episodes and keep what each scored on each of them (`Scores`)."""
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    drawn.check_corpus(prepared)
    context = RouteContext(
        prepared.emotions, prepared.recordings, Path(models), Path(cache), drawn.training_digest
    )
    for name in methods:
        check_method(name, drawn.k)
    built = {name: build_method(name, context) for name in methods}
    measured = tuple(measure(name, method, drawn, prepared) for name, method in built.items())
    Scores(
        corpus=drawn.corpus,
        scenario=drawn.setting,
        person_axis=drawn.person_axis,
        k=drawn.k,
        training_digest=drawn.training_digest,
        meta=_meta(prepared, drawn),
        methods=measured,
    ).save(out)


def write_results(scores: Sequence[Path], out: Path, title: str) -> None:
    """Write results.json, a report and plots from files of scores: turns pooled, every K apart."""
    results = pool([Scores.load(one) for one in scores], title)
    write_text_whole(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_report(results, out)


def measure(name: str, method: Personalizer, drawn: EpisodeFile, corpus: Corpus) -> MethodScores:
    """One method on every test episode."""
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
    return MethodScores(
        name, method.route, method.describe(), tuple(scores), personalize / count, predict / count
    )


def _meta(corpus: Corpus, drawn: EpisodeFile) -> dict[str, Any]:
    return {
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
