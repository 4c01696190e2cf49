"""Supports that say less of a person than the true one, for the same queries.

perser icl-controls --corpus DIR --episodes episodes.json --models DIR --out DIR

Whether a speech language model reads its enrollment: the same episodes with supports that say less of the
person, or nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.answer import answers, marks
from benchmarks.measuring.cells import Case
from benchmarks.measuring.statistics import EpisodeScores, by_episode, intervals, paired_difference
from benchmarks.reporting.templates import environment
from perser.cli.main import run_command
from perser.episodes.episode import Episode, Support, Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.installed_routes import build_method, check_method
from perser.io.files import write_text_atomic

TRUE = "true"


def controlled(drawn: EpisodeFile, tasks: Sequence[Task], name: str, pairs: int, seed: int) -> EpisodeFile:
    """The same episodes with the first `pairs` of each support as this condition has them: one of MADE, or
    `order N`.

    `tasks`: all that the test persons labeled. Raises UserError where there is but one.
    """
    make = MADE.get(name, _in_another_order)
    episodes = []
    for episode in drawn.episodes:
        rng = np.random.default_rng([seed, zlib.crc32(f"{name} {episode.episode_id}".encode())])
        others = [task for task in tasks if task.person != episode.person]
        if not others:
            raise UserError("another person's enrollment: the test persons are one, draw episodes of more")
        read = replace(episode, support=episode.support.first(pairs))
        episodes.append(replace(read, support=make(read, others, rng)))
    return replace(drawn, episodes=tuple(episodes))


def without_pairs(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """N = 0: what the model says of anybody."""
    return episode.support.first(0)


def true_pairs(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """The person's own enrollment."""
    return episode.support


def shuffled_labels(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """The person's clips and the person's labels, not of the same clip: how often each emotion is given
    stays, what it is given to does not."""
    support = episode.support
    return replace(support, emotions=support.ordered(rng.permutation(len(support))).emotions)


def another_persons(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    """As many pairs of one other person, without any utterance that is asked about; fewer where nobody else
    has as many."""
    asked, count = set(episode.query_utterances), len(episode.support)
    usable = [[place for place, one in enumerate(task.utterances) if one not in asked] for task in others]
    most = max(min(len(places), count) for places in usable)
    enough = [number for number, places in enumerate(usable) if len(places) >= most]
    person = enough[rng.integers(len(enough))]
    chosen, task = rng.permutation(usable[person])[:most], others[person]
    return Support(*task.at(chosen), episode.support.seed)


def _in_another_order(episode: Episode, others: Sequence[Task], rng: np.random.Generator) -> Support:
    return episode.support.ordered(rng.permutation(len(episode.support)))


MADE: dict[str, Callable[[Episode, Sequence[Task], np.random.Generator], Support]] = {
    "none": without_pairs,
    TRUE: true_pairs,
    "shuffled labels": shuffled_labels,
    "another person's": another_persons,
}
"""Conditions by name."""

COMPARED = ("maF1", "miF1")

CONTROLS = "controls.json"


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
) -> None:
    """Measure whether a speech LM reads its enrollment, and write controls.json and controls.md.

    On the same episodes: no enrollment, the true one, its labels shuffled among its clips, another person's,
    and the true one in other orders; each minus no enrollment, and minus the true one.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file.
        models: the folder that holds what was trained, in it speech-lm.
        out: folder for controls.json and controls.md.
        cache: folder of the feature cache.
        method: the method that reads the enrollment, such as speech-lm or speech-lm+calibrated.
        pairs: how many pairs of each support it reads; none: all of them.
        orders: how many other orders of the true enrollment.
        seed: of the shuffled labels, the other persons and the orders.
    """
    case = Case(corpus, episodes, models, cache, (method,))
    prepared, drawn = case.prepared, case.drawn
    if orders < 1 or not 1 <= (drawn.k if pairs is None else pairs) <= drawn.k:
        raise UserError(f"orders must be at least 1, and pairs between 1 and the episodes' k = {drawn.k}")
    check_method(method, drawn.k)
    reader = build_method(method, case.context())
    if reader.describe().get("pairs") != "all":
        raise UserError(
            f"method: '{method}' does not read every support as it is: give speech-lm, and --pairs"
        )
    size, tasks = drawn.k if pairs is None else pairs, drawn.tasks(prepared, "test")
    measured = {}
    for name in (*MADE, *(f"order {number + 1}" for number in range(orders))):
        asked = controlled(drawn, tasks, name, size, seed).episodes
        given = answers(reader, [one.question for one in asked], f"with {name}")
        measured[name] = marks(given, asked, prepared.emotions)
    results = {"method": method, "model": str(models), "episodes": len(drawn.episodes), "pairs": size}
    results |= {"seed": seed, "persons": len({one.person for one in drawn.episodes})}
    results |= {"simulated": prepared.simulated, "corpus": prepared.name, **compared(measured)}
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out / CONTROLS, json.dumps(results, indent=1) + "\n")
    page = environment().get_template("controls.md.jinja").render(results)
    write_text_atomic(out / "controls.md", page)


def compared(measured: Mapping[str, Sequence[EpisodeScores]]) -> dict[str, Any]:
    """The content of controls.json: a row a condition, with its mean and intervals; paired differences of
    each to no enrollment and to the true one; the orders' spread."""
    rows = [
        {"condition": name, "metrics": {m: asdict(one) for m, one in intervals(scores).items()}}
        for name, scores in measured.items()
    ]
    differences = [
        {"condition": name, "minus": base, "metric": metric}
        | asdict(paired_difference(by_episode(scores, metric), by_episode(measured[base], metric)))
        for metric in COMPARED
        for base in ("none", TRUE)
        for name, scores in measured.items()
        if name != base and not name.startswith("order ")
    ]
    read = [scores for name, scores in measured.items() if name == TRUE or name.startswith("order ")]
    spread = {metric: _spread(read, metric) for metric in COMPARED}
    return {"rows": rows, "differences": differences, "orders": spread}


def _spread(orders: Sequence[Sequence[EpisodeScores]], metric: str) -> dict[str, float]:
    """Of the enrollment in its own and in other orders: mean, and the standard deviation over orders, once of
    an episode's score (its mean over episodes) and once of the mean over all episodes."""
    scores = np.array([[episode.metrics[metric] for episode in one] for one in orders])
    return {
        "orders": len(orders),
        "mean": float(scores.mean()),
        "std_of_an_episode": float(scores.std(axis=0, ddof=1).mean()),
        "std_of_the_mean": float(scores.mean(axis=1).std(ddof=1)),
    }


if __name__ == "__main__":
    run_command(icl_controls)
