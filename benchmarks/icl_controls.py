"""perser icl-controls --corpus DIR --episodes episodes.json --models DIR --out DIR

Measure whether a speech language model reads its enrollment: answer the same queries with supports that say
less about the person than the true one, or nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.answer import answer_episodes, score_answers
from benchmarks.measuring.cells import Case
from benchmarks.measuring.statistics import (
    EpisodeScores,
    bootstrap_intervals,
    metric_difference,
)
from benchmarks.prompt_sensitivity import Wording, compare_wordings, instructions_of, worded_methods
from benchmarks.reporting.templates import environment
from perser.cli.main import run_command
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.installed_routes import build_method, check_method
from perser.io.files import check_outputs, write_text_atomic
from perser.io.json_files import write_json
from perser.personalizer import Personalizer

CONTROLS = "controls.json"

TRUE = "true"

COMPARED_METRICS = ("log_loss", "maF1", "miF1")


def icl_controls(
    corpus: Path,
    episodes: Path,
    models: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    method: str = "speech-lm",
    pairs: int | None = None,
    orders: int = 4,
    seed: int = 0,
    wordings: bool = False,
    instructions: list[str] | None = None,
) -> None:
    """Measure whether a speech language model reads its enrollment, and write controls.json and controls.md.

    Conditions on the same episodes: no enrollment, the true one, its labels shuffled among its clips, another
    person's, and the true one in other orders. Each is compared with no enrollment and with the true one.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file.
        models: the folder of the trained models, with speech-lm in it.
        out: folder for controls.json and controls.md.
        cache: folder of the feature cache.
        method: the method that reads the enrollment, such as speech-lm or speech-lm+calibrated.
        pairs: how many pairs of each support it reads; none: all of them.
        orders: how many other orders of the true enrollment.
        seed: seed of the shuffled labels, the other persons and the orders.
        wordings: whether every instruction, every kind of label words and every order are measured together,
            to see how much of the variance wording makes; this takes nine times as long as the orders.
        instructions: the instructions to compare with the method's own, instead of two of ours; {listed}
            stands for the label words.

    Examples:
        perser icl-controls --corpus runs/mine/corpus --episodes runs/mine/episodes.json
            --models runs/mine/models --out runs/mine/controls
    """
    check_outputs(folders={"out": out, "cache": cache})
    case = Case(corpus, episodes, models, cache, (method,))
    corpus_loaded, episode_file = case.loaded_corpus, case.episode_file
    size = episode_file.k if pairs is None else pairs
    if orders < 1 or not 1 <= size <= episode_file.k:
        raise UserError(
            f"orders must be at least 1, and pairs between 1 and the episodes' k = {episode_file.k}"
        )
    check_method(method, episode_file.k, episode_file.is_open)
    personalizer = build_method(method, case.context())
    if personalizer.describe().get("pairs") != "all":
        raise UserError(
            f"method: '{method}' does not read every support as it is: give speech-lm, and --pairs"
        )
    if instructions is not None and not wordings:
        raise UserError(
            "instructions: they are compared with --wordings true only: give it, or leave them out"
        )
    chosen = instructions_of(instructions) if wordings else {}
    worded = dict(worded_methods(personalizer, chosen)) if wordings else {}
    results = {"method": method, "model": str(models), "episodes": len(episode_file.episodes), "pairs": size}
    results |= {"seed": seed, "persons": len({episode.person for episode in episode_file.episodes})}
    results |= {"simulated": corpus_loaded.simulated, "corpus": corpus_loaded.name}
    results |= measure_conditions(case, personalizer, worded, size, orders, seed)
    write_json(out / CONTROLS, results)
    page = environment().get_template("controls.md.jinja").render(results)
    write_text_atomic(out / "controls.md", page)


def measure_conditions(
    case: Case,
    personalizer: Personalizer,
    worded: Mapping[Wording, Personalizer],
    size: int,
    orders: int,
    seed: int,
) -> dict[str, Any]:
    """Return what controls.json says of every condition, and of every wording where there are any.

    Args:
        case: the episodes.
        personalizer: the method.
        worded: the method with each wording of its prompt.
        size: how many pairs of each support are read.
        orders: how many other orders of the true enrollment.
        seed: seed of the random changes.
    """
    corpus, episode_file = case.loaded_corpus, case.episode_file
    tasks = episode_file.tasks(corpus, "test")

    def measure(method: Personalizer, condition: str, title: str) -> tuple[EpisodeScores, ...]:
        changed = replace_supports(episode_file, tasks, condition, size, seed).episodes
        answers = answer_episodes(method, changed, corpus.emotions, title)
        return score_answers(answers, changed, corpus.emotions)

    in_orders = [f"order {number + 1}" for number in range(orders)]
    results = compare_conditions(
        {
            condition: measure(personalizer, condition, f"with {condition}")
            for condition in (*CONDITIONS, *in_orders)
        }
    )
    if worded:
        every = {
            wording: {
                condition: measure(method, condition, f"{' and '.join(wording)} in {condition}")
                for condition in (TRUE, *in_orders)
            }
            for wording, method in worded.items()
        }
        results["wordings"] = compare_wordings(every, COMPARED_METRICS)
    return results


def replace_supports(
    episode_file: EpisodeFile, tasks: Sequence[Task], condition: str, pairs: int, seed: int
) -> EpisodeFile:
    """Return the same episodes with the first `pairs` of each support changed as the condition says.

    Args:
        episode_file: the episodes.
        tasks: everything that the test persons labeled.
        condition: one of CONDITIONS, or `order N`.
        pairs: how many pairs of each support are used.
        seed: seed of the random changes.

    Raises UserError where there is only one test person.
    """
    change = CONDITIONS.get(condition, in_another_order)
    episodes = []
    for episode in episode_file.episodes:
        rng = np.random.default_rng([seed, zlib.crc32(f"{condition} {episode.episode_id}".encode())])
        others = [task for task in tasks if task.person != episode.person]
        if not others:
            raise UserError(
                "another person's enrollment cannot be given, because there is only one test person: "
                "draw episodes of more persons"
            )
        shortened = replace(episode, support=episode.support.first(pairs))
        episodes.append(replace(shortened, support=change(shortened, others, rng)))
    return replace(episode_file, episodes=tuple(episodes))


def without_pairs(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """Return an empty support (N = 0)."""
    return episode.support.first(0)


def true_pairs(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """Return the person's own enrollment."""
    return episode.support


def shuffled_labels(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """Return the person's clips with the person's labels shuffled among them.

    It keeps how often the person gives each emotion, but not which clips the person gives it to.
    """
    support = episode.support
    return replace(support, emotions=support.ordered(rng.permutation(len(support))).emotions)


def another_persons(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """Return as many pairs of one other person, without the queries; fewer where no person has enough."""
    queries, count = set(episode.query_utterances), len(episode.support)
    usable = [
        [place for place, utterance in enumerate(task.utterances) if utterance not in queries]
        for task in others
    ]
    most = max(min(len(places), count) for places in usable)
    enough = [number for number, places in enumerate(usable) if len(places) >= most]
    person = enough[rng.integers(len(enough))]
    chosen = rng.permutation(usable[person])[:most]
    return Support(*others[person].at(chosen), episode.support.seed)


def in_another_order(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """Return the person's own enrollment in a random order."""
    return episode.support.ordered(rng.permutation(len(episode.support)))


CONDITIONS: dict[str, Callable[[Episode, Sequence[Task], np.random.Generator], Support]] = {
    "none": without_pairs,
    TRUE: true_pairs,
    "shuffled labels": shuffled_labels,
    "another person's": another_persons,
}
"""How each condition makes its support, from an episode and the other persons' tasks.

The conditions `order N` are added to these."""


def compare_conditions(scores: Mapping[str, Sequence[EpisodeScores]]) -> dict[str, Any]:
    """Return `rows`, `differences` and `orders` of controls.json from the scores of each condition.

    A row has a condition's means and intervals. The differences are paired: each condition minus no
    enrollment, and minus the true one. `orders` says how much the scores vary with the order of the true
    enrollment.
    """
    rows = [
        {
            "condition": condition,
            "metrics": {name: interval.as_json() for name, interval in bootstrap_intervals(episodes).items()},
        }
        for condition, episodes in scores.items()
    ]
    differences = [
        {"condition": condition, "minus": base, "metric": metric}
        | metric_difference(episodes, scores[base], metric).as_json()
        for metric in COMPARED_METRICS
        for base in ("none", TRUE)
        for condition, episodes in scores.items()
        if condition != base and not condition.startswith("order ")
    ]
    orders = [
        episodes
        for condition, episodes in scores.items()
        if condition == TRUE or condition.startswith("order ")
    ]
    spread = {metric: spread_over_orders(orders, metric) for metric in COMPARED_METRICS}
    return {"rows": rows, "differences": differences, "orders": spread}


def spread_over_orders(orders: Sequence[Sequence[EpisodeScores]], metric: str) -> dict[str, float]:
    """Return the mean of a metric and its standard deviations over the orders of the true enrollment.

    `std_of_an_episode` is the standard deviation of one episode's score, averaged over the episodes;
    `std_of_the_mean` is that of the mean over all episodes.
    """
    scores = np.array([[episode.metrics[metric] for episode in episodes] for episodes in orders])
    return {
        "orders": len(orders),
        "mean": float(scores.mean()),
        "std_of_an_episode": float(scores.std(axis=0, ddof=1).mean()),
        "std_of_the_mean": float(scores.mean(axis=1).std(ddof=1)),
    }


if __name__ == "__main__":
    run_command(icl_controls)
