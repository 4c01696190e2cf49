"""python -m benchmarks.suggestion --run runs/quickstart --n 8

Whether it pays to label the clips that `perser suggest` names rather than clips drawn at random: macro-F1
of each trained model after N labels of each kind, from the same pool, on a run's own episodes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring.statistics import EpisodeScores, by_episode, by_person, interval, paired_difference
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.distributed import progress_bar
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.inference.active_learning import Views, choose
from perser.inference.clips import Waveforms
from perser.inference.recognizer import Recognizer
from perser.io.files import write_text_atomic
from perser.metrics import score_episode

MODELS = ("meta-perser", "speech-lm")

METRIC = "maF1"


@dataclass(frozen=True)
class Asked:
    """One episode's pool: what its person labeled, less the queries."""

    episode: Episode
    pool: Task


def suggestion(
    run: Path,
    n: int = 8,
    pool: int = 100,
    draws: int = 8,
    limit: int | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Compare clips that `perser suggest` names with clips drawn at random, as enrollments of the same size.

    Args:
        run: a finished run, with corpus, episodes.json and models.
        n: how many clips are labeled.
        pool: how many clips each person could label, at most.
        draws: how many random choices stand against each suggestion; their scores are averaged.
        limit: how many episodes, evenly spread; none: all.
        out: a JSON file for the figures; none: they are printed alone.
        seed: of the pools and of the random choices.
    """
    if n < 1 or draws < 1 or pool <= n:
        raise UserError("n and draws must be at least 1, and pool above n")
    corpus, drawn = Corpus.load(run / "corpus"), EpisodeFile.load(run / "episodes.json")
    asked = _asked(corpus, drawn, pool, limit, seed)
    names = sorted({name for one in asked for name in (*one.pool.utterances, *one.episode.query_utterances)})
    clips = Waveforms({name: corpus.recordings.waveform(name) for name in names})
    models = {one: run / "models" / one for one in MODELS if (run / "models" / one).is_dir()}
    if not models:
        raise UserError(f"{run}/models holds none of {', '.join(MODELS)}")
    rows = [
        {"model": name} | compared(Recognizer.from_pretrained(folder), clips, asked, n, draws, seed)
        for name, folder in models.items()
    ]
    found = {"run": str(run), "n": n, "pool": pool, "draws": draws, "seed": seed, "rows": rows}
    found |= {"simulated": corpus.simulated, "metric": METRIC}
    _print(found)
    if out is not None:
        write_text_atomic(out, json.dumps(found, indent=1) + "\n")


def _asked(corpus: Corpus, drawn: EpisodeFile, pool: int, limit: int | None, seed: int) -> list[Asked]:
    """The episodes with their pools: the support and more of what the person labeled, never a query."""
    tasks = {task.person: task for task in drawn.tasks(corpus, "test")}
    episodes = drawn.episodes
    if limit is not None:
        episodes = tuple(
            episodes[place]
            for place in np.linspace(0, len(episodes) - 1, min(limit, len(episodes))).astype(int)
        )
    asked = []
    for number, episode in enumerate(episodes):
        task, queries = tasks[episode.person], set(episode.query_utterances)
        free = [place for place, one in enumerate(task.utterances) if one not in queries]
        kept = np.sort(np.random.default_rng([seed, number]).permutation(free)[:pool])
        asked.append(Asked(episode, Task(task.person, *task.at(kept))))
    return asked


def compared(
    recognizer: Recognizer, clips: Waveforms, asked: Sequence[Asked], n: int, draws: int, seed: int
) -> dict[str, Any]:
    """One model's scores after N suggested labels, after N random ones, and their paired difference."""
    model = recognizer.model
    heard = model.encode_clips(clips)
    suggested: list[EpisodeScores] = []
    random: list[EpisodeScores] = []
    with progress_bar(len(asked), model.route) as bar:
        for number, one in enumerate(asked):
            names = list(one.pool.utterances)
            answers = recognizer.predictor.predict_proba(heard, names)
            views = Views(tuple(names), (model.embed_clips(heard, names),), (answers,))
            named = [place for place, _ in choose(views, n)]
            rng = np.random.default_rng([seed, number, 1])
            drawn = [rng.permutation(len(names))[:n] for _ in range(draws)]
            suggested.append(_scored(recognizer, heard, one, [named]))
            random.append(_scored(recognizer, heard, one, drawn))
            bar.update()
    difference = paired_difference(by_episode(suggested, METRIC), by_episode(random, METRIC), seed)
    return {
        "episodes": len(asked),
        "suggested": asdict(interval(by_person(suggested, METRIC), seed)),
        "random": asdict(interval(by_person(random, METRIC), seed)),
        "difference": asdict(difference),
    }


def _scored(
    recognizer: Recognizer, heard: Any, one: Asked, choices: Sequence[Sequence[int]]
) -> EpisodeScores:
    """The episode's metrics after each choice of labels, averaged over the choices."""
    model, episode, scores = recognizer.model, one.episode, []
    targets = recognizer.emotions.multi_hot(episode.query_emotions)
    for chosen in choices:
        support = Support(*one.pool.at(chosen), seed=0)
        predictor = model.predictor(model.enroll(heard, support), support.emotions)
        answers = predictor.predict_proba(heard, list(episode.query_utterances))
        scores.append(score_episode(answers, targets)[METRIC])
    return EpisodeScores(episode.person, episode.episode_id, {METRIC: float(np.mean(scores))})


def _print(found: dict[str, Any]) -> None:
    title = f"{found['metric']} in percent after {found['n']} labels from a pool of at most {found['pool']}"
    table = Table(title=title, title_justify="left")
    for heading in ("model", "episodes", "suggested", "random", "difference (95%)", "Wilcoxon p"):
        table.add_column(heading)
    for row in found["rows"]:
        apart = row["difference"]
        p = apart["wilcoxon_p"]
        table.add_row(
            row["model"],
            str(row["episodes"]),
            *(f"{100 * row[one]['mean']:.1f}" for one in ("suggested", "random")),
            f"{100 * apart['mean']:+.1f} ({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})",
            "-" if p is None else f"{p:.3f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    run_command(suggestion)
