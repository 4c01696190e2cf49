"""One episode looked at: what the person heard, and what each method says, answered anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring.answer import Answer, answers, marks
from benchmarks.measuring.cells import Case, Cell
from benchmarks.measuring.measure import predictions_of
from benchmarks.measuring.predictions import Predictions
from perser.episodes.episode import Episode
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.labels import EmotionSet, decide

CLOSE = 1e-5


def show_episode(
    episode_id: str, measured: Sequence[tuple[Case, Path]], console: Console | None = None
) -> None:
    """Answer an episode again with every method, wherever it is among the cases, and print it utterance by
    utterance. Raises UserError where no case has it."""
    console = console or Console()
    found = [
        (case, scores, episode)
        for case, scores in measured
        for episode in case.drawn.episodes
        if episode.episode_id == episode_id
    ]
    if not found:
        some = [one.episode_id for case, _ in measured for one in case.drawn.episodes[:3]]
        raise UserError(f"there is no episode '{episode_id}': they are named like {', '.join(some)}")
    for case, scores, episode in found:
        _show(case, predictions_of(scores, case.limit), episode, console)


def _show(case: Case, folder: Path, episode: Episode, console: Console) -> None:
    emotions = case.prepared.emotions
    console.print(
        f"{escape(episode.episode_id)}: {case.drawn.corpus}, {case.drawn.setting}, K = {case.drawn.k}"
    )
    table = Table(title="support", title_justify="left")
    table.add_column("utterance")
    table.add_column("heard")
    for utterance, heard in zip(episode.support.utterances, episode.support.emotions, strict=True):
        table.add_row(escape(utterance), ", ".join(heard))
    console.print(table)
    given = {name: answer(case, name, episode) for name in dict.fromkeys(case.methods)}
    table = Table(title="query", title_justify="left")
    for heading in ("utterance", "heard", *given):
        table.add_column(escape(heading))
    for place, (utterance, heard) in enumerate(
        zip(episode.query_utterances, episode.query_emotions, strict=True)
    ):
        said = [answer_text(one.probabilities[place], emotions) for one in given.values()]
        table.add_row(escape(utterance), ", ".join(heard), *said)
    console.print(table)
    for name, one in given.items():
        (mark,) = marks([one], [episode], emotions)
        figures = ", ".join(f"{metric} {value:.3f}" for metric, value in mark.metrics.items())
        console.print(f"{name}: {figures}; {saved_text(folder, name, episode, one)}")


def answer(case: Case, method: str, episode: Episode) -> Answer:
    """The method's answer, computed now."""
    (found,) = answers(build_method(method, case.context()), [episode.question], method)
    return found


def answer_text(probabilities: np.ndarray, emotions: EmotionSet) -> str:
    """The labels by the rule, with their probabilities; where there are none, the likeliest in brackets."""
    words = emotions.words(decide(probabilities[None])[0])
    shown = ", ".join(f"{one} {probabilities[emotions.index(one)]:.2f}" for one in words)
    likeliest = int(probabilities.argmax())
    return shown or f"({emotions.names[likeliest]} {probabilities[likeliest]:.2f})"


def saved_text(folder: Path, method: str, episode: Episode, now: Answer) -> str:
    """How the answer of now compares with the one that was kept."""
    path = folder / Cell(method, episode.seed).file
    if not path.exists():
        return "never measured before"
    kept = Predictions.load(path)
    if episode.episode_id not in kept.episodes:
        return "not among what was measured before"
    before = kept.answers[list(kept.episodes).index(episode.episode_id)].probabilities
    apart = float(np.abs(before - now.probabilities).max())
    return "as measured before" if apart < CLOSE else f"measured before otherwise (up to {apart:.2g} apart)"
