"""Fit how much the answers without and with pairs count, on validation persons (`scoring.opinion_pool`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from perser.encoders.feature_cache import FeatureStore
from perser.episodes.episode import Task
from perser.episodes.sampling import evenly_spaced
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.projectors.base import read_clips
from speechlm_icl.scoring.opinion_pool import OpinionPool, fit_weights
from speechlm_icl.training.on_episodes import answers_after

PERSONS, DRAWS, QUERIES = 32, 4, 32
"""Most persons; how often each enrolls clips at random; most clips that are then asked."""


def fit_opinion_pool(
    model: SpeechLMForICL, tasks: Sequence[Task], store: FeatureStore, pairs: int, seed: int
) -> OpinionPool:
    """Return the weights that answer the clips of validation persons best, after up to `pairs` pairs.

    They are fitted for no pairs, for every power of two up to `pairs`, and for `pairs`, where any person has
    enough clips.
    """
    model.eval()
    counts = sorted({0, pairs, *(2**power for power in range(pairs.bit_length()) if 2**power <= pairs)})
    answers: dict[int, list[np.ndarray]] = defaultdict(list)
    plain: dict[int, list[np.ndarray]] = defaultdict(list)
    targets: dict[int, list[np.ndarray]] = defaultdict(list)
    emotions = model.prompt.emotions
    for person, task in enumerate(evenly_spaced(list(tasks), PERSONS)):
        for draw in range(DRAWS):
            utterances, labels = task.sample(
                len(task.utterances), np.random.default_rng([seed, person, draw])
            )
            asked = min(QUERIES, -(-len(utterances) // 2))
            enrolled, queries = utterances[:-asked], read_clips(store, utterances[-asked:])
            wanted = emotions.distribution(labels[-asked:])
            for count in (each for each in counts if each <= len(enrolled)):
                found = answers_after(model, enrolled[:count], labels[:count], queries, store)
                answers[count].append(found)
                plain[count].append(answers[0][-1])
                targets[count].append(wanted)
    fitted = {
        count: fit_weights(
            np.concatenate(plain[count]),
            np.concatenate(answers[count]) if count else None,
            np.concatenate(targets[count]),
        )
        for count in counts
        if count in answers
    }
    return OpinionPool(
        tuple(fitted),
        tuple(weights.without for weights in fitted.values()),
        tuple(weights.after for weights in fitted.values()),
    )
