"""Show one episode: what the person heard, and what each method answers when it is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring.answer import EpisodeAnswer, answer_episodes, score_answers
from benchmarks.measuring.cells import Case, Cell
from benchmarks.measuring.measure import predictions_of
from benchmarks.measuring.predictions import Predictions
from perser.episodes.episode import Episode
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.labels import EmotionSet, decide

TOLERANCE = 1e-5
"""Probabilities that differ by less are called the same."""


def show_episode(
    episode_id: str, measured: Sequence[tuple[Case, Path]], console: Console | None = None
) -> None:
    """Answer an episode again with every method, and print the answers utterance by utterance.

    `measured` are cases with their scores files; the episode is shown for every case that has it.

    Raises UserError where no case has it.
    """
    console = console or Console()
    matches = [
        (case, scores, episode)
        for case, scores in measured
        for episode in case.episode_file.episodes
        if episode.episode_id == episode_id
    ]
    if not matches:
        examples = [episode.episode_id for case, _ in measured for episode in case.episode_file.episodes[:3]]
        raise UserError(f"there is no episode '{episode_id}': they are named like {', '.join(examples)}")
    for case, scores, episode in matches:
        _show(case, predictions_of(scores, case.limit), episode, console)


def _show(case: Case, folder: Path, episode: Episode, console: Console) -> None:
    emotions, episode_file = case.loaded_corpus.emotions, case.episode_file
    console.print(
        f"{escape(episode.episode_id)}: {episode_file.corpus}, {episode_file.setting}, K = {episode_file.k}"
    )
    table = Table(title="support", title_justify="left")
    table.add_column("utterance")
    table.add_column("heard")
    for utterance, heard in zip(episode.support.utterances, episode.support.emotions, strict=True):
        table.add_row(escape(utterance), ", ".join(heard))
    console.print(table)
    answers = {method: compute_answer(case, method, episode) for method in dict.fromkeys(case.methods)}
    table = Table(title="query", title_justify="left")
    for heading in ("utterance", "heard", *answers):
        table.add_column(escape(heading))
    for place, (utterance, heard) in enumerate(
        zip(episode.query_utterances, episode.query_emotions, strict=True)
    ):
        predicted = [answer_text(each.probabilities[place], emotions) for each in answers.values()]
        table.add_row(escape(utterance), ", ".join(heard), *predicted)
    console.print(table)
    for method, now in answers.items():
        (scores,) = score_answers([now], [episode], emotions)
        metrics = ", ".join(f"{metric} {value:.3f}" for metric, value in scores.metrics.items())
        saved = saved_text(folder, method, episode, now)
        console.print(f"{method}: {metrics}; {saved}", soft_wrap=True)


def compute_answer(case: Case, method: str, episode: Episode) -> EpisodeAnswer:
    """Compute the method's answer to the episode's question."""
    (computed,) = answer_episodes(
        build_method(method, case.context()), [episode], case.loaded_corpus.emotions, method
    )
    return computed


def answer_text(probabilities: np.ndarray, emotions: EmotionSet) -> str:
    """Return the predicted labels with their probabilities; if there are none, the likeliest in brackets."""
    words = emotions.words(decide(probabilities[None])[0])
    shown = ", ".join(f"{word} {probabilities[emotions.index(word)]:.2f}" for word in words)
    likeliest = int(probabilities.argmax())
    return shown or f"({emotions.names[likeliest]} {probabilities[likeliest]:.2f})"


def saved_text(folder: Path, method: str, episode: Episode, now: EpisodeAnswer) -> str:
    """Say how an answer compares with the one that is saved in the folder of predictions."""
    path = folder / Cell(method, episode.seed).file
    if not path.exists():
        return "never measured before"
    saved = Predictions.load(path)
    if episode.episode_id not in saved.episodes:
        return "not among what was measured before"
    before = saved.answers[list(saved.episodes).index(episode.episode_id)].probabilities
    difference = float(np.abs(before - now.probabilities).max())
    if difference < TOLERANCE:
        return "as measured before"
    return f"not as measured before (probabilities differ by up to {difference:.2g})"
