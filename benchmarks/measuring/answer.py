"""Let a method answer the questions of episodes, and score its answers.

The answers are given before any label is read: `answer_questions` sees supports and utterance ids only. The
other functions compare answers with what the persons heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.measuring.speakers import speaker_contributions
from benchmarks.measuring.statistics import EpisodeScores
from perser.device import clock
from perser.distributed import processes
from perser.episodes.episode import Episode, Question
from perser.labels import EmotionSet
from perser.metrics import confidence_bins, score_episode, signed_gaps
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
            own = method.with_labels(EmotionSet(question.labels)) if question.labels else method
            predictor = own.personalize(question.support)
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


def answer_episodes(
    method: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, title: str
) -> list[EpisodeAnswer]:
    """Answer the questions of episodes, with a probability for each of the corpus's emotions (Q, C).

    In an open episode those that are not among its classes have probability 0.
    """
    answers = answer_questions(method, [episode.question for episode in episodes], title)
    return [
        replace(answer, probabilities=_spread(answer.probabilities, episode, emotions))
        for answer, episode in zip(answers, episodes, strict=True)
    ]


def _spread(probabilities: np.ndarray, episode: Episode, emotions: EmotionSet) -> np.ndarray:
    """Return probabilities of an episode's labels as those of all emotions (Q, C)."""
    if not episode.words:
        return probabilities
    spread = np.zeros((len(probabilities), len(emotions)), dtype=probabilities.dtype)
    spread[:, episode.columns(emotions)] = probabilities
    return spread


def score_answers(
    answers: Sequence[EpisodeAnswer],
    episodes: Sequence[Episode],
    emotions: EmotionSet,
    speakers: Mapping[str, str] | None = None,
) -> tuple[EpisodeScores, ...]:
    """Return the metrics of each episode (`perser.metrics.score_episode`).

    The calibration error of an episode is its part in that of all episodes (`signed_gaps`). An open episode
    is scored on its own classes alone.

    Args:
        answers: one for each episode.
        episodes: with the labels of their queries.
        emotions: of the corpus.
        speakers: the speaker of each utterance, where intervals should allow for them.
    """
    targets = [emotions.multi_hot(episode.query_emotions).astype(np.int64) for episode in episodes]
    gaps = signed_gaps(
        np.concatenate([answer.probabilities for answer in answers]),
        np.concatenate(targets),
        [utterance for episode in episodes for utterance in episode.query_utterances],
    )
    ends = np.cumsum([len(labels) for labels in targets])[:-1]
    found = []
    for answer, episode, labels, own_gaps in zip(
        answers, episodes, targets, np.split(gaps, ends), strict=True
    ):
        columns = episode.columns(emotions)
        given, heard = answer.probabilities[:, columns], labels[:, columns]
        metrics = score_episode(given, heard) | {"ece": float(own_gaps.mean())}
        by_speaker = {}
        if speakers:
            names = [speakers[utterance] for utterance in episode.query_utterances]
            by_speaker = speaker_contributions(given, heard, names, own_gaps)
        found.append(EpisodeScores(episode.person, episode.episode_id, metrics, by_speaker))
    return tuple(found)


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
    bins = [
        confidence_bins(answer.probabilities, emotions.multi_hot(episode.query_emotions))
        for answer, episode in zip(answers, episodes, strict=True)
    ]
    return np.sum(bins, axis=0)
