"""Score a method on validation episodes: the same criterion and the same episodes for every choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from perser.distributed import gather_in_order, is_alone_on_cpu, num_cores, own_items
from perser.episodes.episode import Episode
from perser.labels import EmotionSet
from perser.metrics import score_episode
from perser.personalizer import Personalizer
from perser.training.loop import Validation
from perser.training.options import Criterion

LOGGED: tuple[Criterion, ...] = ("log_loss", "maF1")
"""What a validation logs, whichever of them is the criterion."""


def goodness(scores: Mapping[str, float], criterion: Criterion) -> float:
    """Return a number that is higher for better scores (`perser.metrics`)."""
    return -scores[criterion] if criterion == "log_loss" else scores[criterion]


def first_of_each_person(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the first episode of each person, where answering all would take too long."""
    return list({episode.person: episode for episode in reversed(episodes)}.values())[::-1]


def episode_scores(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet
) -> list[dict[str, float]]:
    """Personalize to each episode's support and return the scores of its query (`perser.metrics`)."""
    predictors = personalizer.personalize_many([episode.support for episode in episodes])
    return [
        score_episode(
            predictor.predict_proba(episode.query_utterances), emotions.multi_hot(episode.query_emotions)
        )
        for predictor, episode in zip(predictors, episodes, strict=True)
    ]


def all_scores(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, one_by_one: bool = False
) -> list[dict[str, float]]:
    """Return `episode_scores`, to which several processes contribute: all of them have to call it.

    `one_by_one` says that the personalizer takes one person after the other. Then cores that are not used by
    torch's threads each take an episode.
    """
    own = own_items(episodes)
    threads = num_cores() // torch.get_num_threads() if one_by_one and is_alone_on_cpu() else 1
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda episode: episode_scores(personalizer, [episode], emotions), own)
            return [scores for (scores,) in found]
    return gather_in_order(episode_scores(personalizer, own, emotions))


def validate(
    personalizer: Personalizer, episodes: Sequence[Episode], emotions: EmotionSet, criterion: Criterion
) -> Validation:
    """Personalize to each episode and return its mean scores, of which the criterion chooses.

    Several processes share the episodes, and all of them have to call it.
    """
    found = all_scores(personalizer, episodes, emotions)
    means: dict[str, float] = {name: float(np.mean([scores[name] for scores in found])) for name in LOGGED}
    return Validation(goodness(means, criterion), means)


def saved_scores(validation: Validation) -> dict[str, float]:
    """Return what a validation measured under the names that a model is saved with."""
    return {f"validation_{name.lower()}": value for name, value in validation.values.items()}
