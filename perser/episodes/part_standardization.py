"""Standardize features by the clips of each corpus that was joined (`perser join`), not by those of all
together, so that a model does not learn rooms and microphones."""

from __future__ import annotations

from collections.abc import Sequence

from perser.corpora.corpus import Corpus
from perser.corpora.joined import utterances_by_part
from perser.encoders.feature_cache import FeatureStore
from perser.encoders.moments import StandardizedByGroup
from perser.episodes.episode import Task
from perser.episodes.sampling import evenly_spaced

MOST_CLIPS = 4096
"""The most clips of a corpus that its moments are computed from."""


def standardized_by_part(store: FeatureStore, corpus: Corpus, tasks: Sequence[Task]) -> FeatureStore:
    """Return the features with the same moments in each corpus that was joined into this one.

    A corpus that was not joined is one part. The clips of a part of which nothing is trained on stay as they
    are.

    Args:
        store: The features of all clips.
        corpus: The corpus.
        tasks: The training tasks; the moments are those of their clips.
    """
    trained = sorted({utterance for task in tasks for utterance in task.utterances})
    groups = utterances_by_part(corpus, trained)
    chosen = {name: evenly_spaced(clips, MOST_CLIPS) for name, clips in groups.items()}
    members = {
        clip: name for name, clips in utterances_by_part(corpus, corpus.utterances).items() for clip in clips
    }
    return StandardizedByGroup(store, chosen, members)
