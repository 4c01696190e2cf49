"""python -m benchmarks.suggestion --run runs/quickstart --n 8

Measure whether it pays to label the clips that `perser suggest` names: the macro-F1 of each trained model
after N suggested labels and after N random ones, from the same pool, on a run's own episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measuring.statistics import (
    EpisodeScores,
    bootstrap_interval,
    by_episode,
    by_person,
    paired_difference,
)
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.inference.active_learning import Views, choose
from perser.inference.clips import Waveforms
from perser.inference.recognizer import Recognizer
from perser.io.files import check_outputs
from perser.io.json_files import write_json
from perser.metrics import score_episode
from perser.progress import progress_bar

MODELS = ("meta-perser", "speech-lm")

METRIC = "maF1"


@dataclass(frozen=True)
class LabelPool:
    """The clips that an episode's person could label: clips of that person, without the queries."""

    episode: Episode
    clips: Task


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
        draws: how many random choices each suggestion is compared with; their scores are averaged.
        limit: how many episodes, evenly spread; none: all.
        out: a JSON file for the figures; none: they are only printed.
        seed: seed of the pools and of the random choices.
    """
    check_outputs(files={"out": out})
    if n < 1 or draws < 1 or pool <= n:
        raise UserError("n and draws must be at least 1, and pool above n")
    corpus, episode_file = Corpus.load(run / "corpus"), EpisodeFile.load(run / "episodes.json")
    pools = _label_pools(corpus, episode_file, pool, limit, seed)
    names = {name for each in pools for name in (*each.clips.utterances, *each.episode.query_utterances)}
    waveforms = Waveforms({name: corpus.recordings.waveform(name) for name in sorted(names)})
    models = {name: run / "models" / name for name in MODELS if (run / "models" / name).is_dir()}
    if not models:
        raise UserError(f"{run}/models holds none of {', '.join(MODELS)}")
    rows = [
        {"model": name}
        | compare_choices(Recognizer.from_pretrained(folder), waveforms, pools, n, draws, seed)
        for name, folder in models.items()
    ]
    results = {"run": str(run), "n": n, "pool": pool, "draws": draws, "seed": seed, "rows": rows}
    results |= {"simulated": corpus.simulated, "metric": METRIC}
    _print(results)
    if out is not None:
        write_json(out, results)


def _label_pools(
    corpus: Corpus, episode_file: EpisodeFile, size: int, limit: int | None, seed: int
) -> list[LabelPool]:
    """Draw at most `size` clips of each episode's person, never one of its queries."""
    tasks = {task.person: task for task in episode_file.tasks(corpus, "test")}
    episodes = episode_file.episodes
    if limit is not None:
        places = np.linspace(0, len(episodes) - 1, min(limit, len(episodes))).astype(int)
        episodes = tuple(episodes[place] for place in places)
    pools = []
    for number, episode in enumerate(episodes):
        task, queries = tasks[episode.person], set(episode.query_utterances)
        free = [place for place, utterance in enumerate(task.utterances) if utterance not in queries]
        chosen = np.sort(np.random.default_rng([seed, number]).permutation(free)[:size])
        pools.append(LabelPool(episode, Task(task.person, *task.at(chosen))))
    return pools


def compare_choices(
    recognizer: Recognizer, waveforms: Waveforms, pools: Sequence[LabelPool], n: int, draws: int, seed: int
) -> dict[str, Any]:
    """Return a model's scores after N suggested labels, after N random ones, and their paired difference."""
    model = recognizer.model
    encoded = model.encode_clips(waveforms)
    suggested: list[EpisodeScores] = []
    random: list[EpisodeScores] = []
    with progress_bar(len(pools), model.route) as bar:
        for number, pool in enumerate(pools):
            names = list(pool.clips.utterances)
            answers = recognizer.predictor.predict_proba(encoded, names)
            views = Views(tuple(names), (model.embed_clips(encoded, names),), (answers,))
            chosen = [place for place, _ in choose(views, n)]
            rng = np.random.default_rng([seed, number, 1])
            drawn = [rng.permutation(len(names))[:n].tolist() for _ in range(draws)]
            suggested.append(_scores_after(recognizer, encoded, pool, [chosen]))
            random.append(_scores_after(recognizer, encoded, pool, drawn))
            bar.update()
    difference = paired_difference(by_episode(suggested, METRIC), by_episode(random, METRIC), seed)
    return {
        "episodes": len(pools),
        "suggested": bootstrap_interval(by_person(suggested, METRIC), seed).as_json(),
        "random": bootstrap_interval(by_person(random, METRIC), seed).as_json(),
        "difference": difference.as_json(),
    }


def _scores_after(
    recognizer: Recognizer, encoded: Any, pool: LabelPool, choices: Sequence[Sequence[int]]
) -> EpisodeScores:
    """Return the episode's metric after enrolling each choice of labels, averaged over the choices."""
    model, episode, scores = recognizer.model, pool.episode, []
    targets = recognizer.emotions.multi_hot(episode.query_emotions)
    for chosen in choices:
        support = Support(*pool.clips.at(chosen), seed=0)
        predictor = model.predictor(model.enroll(encoded, support), support.emotions)
        answers = predictor.predict_proba(encoded, list(episode.query_utterances))
        scores.append(score_episode(answers, targets)[METRIC])
    return EpisodeScores(episode.person, episode.episode_id, {METRIC: float(np.mean(scores))})


def _print(results: dict[str, Any]) -> None:
    title = f"{METRIC} in percent after {results['n']} labels from a pool of at most {results['pool']}"
    table = Table(title=title, title_justify="left")
    for heading in ("model", "episodes", "suggested", "random", "difference (95%)", "Wilcoxon p"):
        table.add_column(heading)
    for row in results["rows"]:
        difference = row["difference"]
        p = difference["wilcoxon_p"]
        low_high = f"({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"
        table.add_row(
            row["model"],
            str(row["episodes"]),
            *(f"{100 * row[choice]['mean']:.1f}" for choice in ("suggested", "random")),
            f"{100 * difference['mean']:+.1f} {low_high}",
            "-" if p is None else f"{p:.3f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    run_command(suggestion)
