"""Validation on episodes: the log loss after adaptation, by which every other method is chosen, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from perser.distributed import gather_in_order, own_items
from perser.episodes.episode import Episode, Task
from perser.labels import Emotions
from perser.metrics import score_episode
from perser.selection.validation import LOGGED
from speechlm_icl.projectors.base import Clips, Store, read_clips
from speechlm_icl.scoring.scoring import label_log_probabilities
from speechlm_icl.training.learner import Learner


def choosing_episodes(episodes: Sequence[Episode], train_tasks: Sequence[Task]) -> list[Episode]:
    """Return the episodes that choose a step: those with no emotion that training left out.

    There are none where each episode has labels of its own.
    """
    met = {word for task in train_tasks for words in task.emotions for word in words}
    return [
        episode
        for episode in episodes
        if not episode.words
        and met.issuperset(word for words in episode.support.emotions for word in words)
        and met.issuperset(word for words in episode.query_emotions for word in words)
    ]


@torch.no_grad()
def validate_on_episodes(
    model: Learner, episodes: Sequence[Episode], pairs: int, store: Store
) -> dict[str, float]:
    """Return the mean scores of the episodes' queries after their first `pairs` pairs (`perser.metrics`).

    Several processes share the episodes, and all of them have to call it.
    """
    model.eval()
    found = gather_in_order([_scores(model, episode, pairs, store) for episode in own_items(episodes)])
    return {f"episodes_{name}": float(np.mean([scores[name] for scores in found])) for name in LOGGED}


def _scores(model: Learner, episode: Episode, pairs: int, store: Store) -> dict[str, float]:
    support, emotions = episode.support.first(min(pairs, len(episode.support))), model.prompt.emotions
    queries = read_clips(store, episode.query_utterances)
    found = answers_after(model, support.utterances, support.emotions, queries, store)
    return score_episode(found, emotions.multi_hot(episode.query_emotions))


@torch.no_grad()
def answers_after(
    model: Learner, enrolled: Sequence[str], labels: Sequence[Emotions], queries: Clips, store: Store
) -> np.ndarray:
    """Return the probabilities (Q, C) of queries after the enrolled clips and their labels."""
    answers = model.prompt.emotions.indices(labels)
    features = read_clips(store, enrolled) if answers else None
    return label_log_probabilities(model, features, answers, queries).softmax(dim=1).cpu().numpy()
