"""A method's answers to the questions of some episodes, and what it took to give them.

Nothing here knows what the persons heard in the utterances that they are asked about: labels are put beside
the answers afterwards, in `benchmarks.marks`.

Answers beside what the persons heard: scores by episode, and what adds up over episodes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measuring.statistics import EpisodeScores
from perser.distributed import progress_bar
from perser.episodes.episode import Episode, Question
from perser.labels import EmotionSet
from perser.metrics import confidence_bins, score_episode
from perser.personalizer import Personalizer


@dataclass(frozen=True)
class Answer:
    """One method's answer to one question."""

    probabilities: np.ndarray
    """float32 (Q, C), rows sum to 1."""
    seconds_personalize: float
    seconds_predict: float
    """Of one utterance."""


def answers(method: Personalizer, questions: Sequence[Question], shown: str) -> list[Answer]:
    """Personalize to each support and predict its utterances; `shown` heads the progress bar."""
    given = []
    with progress_bar(len(questions), shown) as bar:
        for question in questions:
            started = time.perf_counter()
            predictor = method.personalize(question.support)
            personalized = time.perf_counter()
            probabilities = predictor.predict_proba(question.utterances)
            ended = time.perf_counter()
            given.append(
                Answer(
                    np.asarray(probabilities, dtype=np.float32),
                    personalized - started,
                    (ended - personalized) / len(question.utterances),
                )
            )
            bar.update()
    return given


def marks(
    answers: Sequence[Answer], episodes: Sequence[Episode], emotions: EmotionSet
) -> tuple[EpisodeScores, ...]:
    """The metrics of each episode."""
    return tuple(
        EpisodeScores(
            episode.person,
            episode.episode_id,
            score_episode(answer.probabilities, emotions.multi_hot(episode.query_emotions)),
        )
        for answer, episode in zip(answers, episodes, strict=True)
    )


def confusion(answers: Sequence[Answer], episodes: Sequence[Episode], emotions: EmotionSet) -> np.ndarray:
    """Utterances (C, C) by what was heard (rows) and the likeliest emotion (columns); one with several labels
    is shared out evenly among their rows."""
    counts = np.zeros((len(emotions), len(emotions)))
    for answer, episode in zip(answers, episodes, strict=True):
        heard = emotions.distribution(episode.query_emotions)
        likeliest = np.eye(len(emotions))[answer.probabilities.argmax(axis=1)]
        counts += heard.T @ likeliest
    return counts


def reliability(answers: Sequence[Answer], episodes: Sequence[Episode], emotions: EmotionSet) -> np.ndarray:
    """`confidence_bins`, summed over the episodes: (ECE_BINS, 3)."""
    return sum(
        confidence_bins(answer.probabilities, emotions.multi_hot(episode.query_emotions))
        for answer, episode in zip(answers, episodes, strict=True)
    )
