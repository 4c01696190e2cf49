"""Let a method answer the questions of episodes, and score its answers.

The answers are given before any label is read: `answer_questions` sees supports and utterance ids only. The
other functions compare answers with what the persons heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measuring.statistics import EpisodeScores
from perser.device import clock
from perser.distributed import processes
from perser.episodes.episode import Episode, Question
from perser.labels import EmotionSet
from perser.metrics import confidence_bins, score_episode
from perser.personalizer import Personalizer
from perser.progress import progress_bar


@dataclass(frozen=True)
class EpisodeAnswer:
    """One method's answer to one question."""

    probabilities: np.ndarray
    """float32 (Q, C), rows sum to 1."""
    seconds_personalize: float
    seconds_predict: float
    """Per utterance."""


def answer_questions(method: Personalizer, questions: Sequence[Question], title: str) -> list[EpisodeAnswer]:
    """Personalize to each question's support and predict its utterances, and time both.

    `title` is shown at the progress bar. The clock is read when a GPU has done its work.
    """
    answers, device = [], processes().device
    with progress_bar(len(questions), title) as bar:
        for question in questions:
            started = clock(device)
            predictor = method.personalize(question.support)
            personalized = clock(device)
            probabilities = predictor.predict_proba(question.utterances)
            ended = clock(device)
            answers.append(
                EpisodeAnswer(
                    np.asarray(probabilities, dtype=np.float32),
                    personalized - started,
                    (ended - personalized) / len(question.utterances),
                )
            )
            bar.update()
    return answers


def score_answers(
    answers: Sequence[EpisodeAnswer], episodes: Sequence[Episode], emotions: EmotionSet
) -> tuple[EpisodeScores, ...]:
    """Return the metrics of each episode (`perser.metrics.score_episode`)."""
    return tuple(
        EpisodeScores(
            episode.person,
            episode.episode_id,
            score_episode(answer.probabilities, emotions.multi_hot(episode.query_emotions)),
        )
        for answer, episode in zip(answers, episodes, strict=True)
    )


def confusion(
    answers: Sequence[EpisodeAnswer], episodes: Sequence[Episode], emotions: EmotionSet
) -> np.ndarray:
    """Count utterances by the emotion heard (rows) and the likeliest emotion (columns), float64 (C, C).

    An utterance with several labels is divided evenly among their rows.
    """
    counts = np.zeros((len(emotions), len(emotions)))
    for answer, episode in zip(answers, episodes, strict=True):
        heard = emotions.distribution(episode.query_emotions)
        likeliest = np.eye(len(emotions))[answer.probabilities.argmax(axis=1)]
        counts += heard.T @ likeliest
    return counts


def reliability(
    answers: Sequence[EpisodeAnswer], episodes: Sequence[Episode], emotions: EmotionSet
) -> np.ndarray:
    """Sum `perser.metrics.confidence_bins` over the episodes: (ECE_BINS, 3)."""
    return sum(
        confidence_bins(answer.probabilities, emotions.multi_hot(episode.query_emotions))
        for answer, episode in zip(answers, episodes, strict=True)
    )
