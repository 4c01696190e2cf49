from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.annotations import Annotations
from perser.corpora.listing import Annotation
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
LABELS = st.sets(st.sampled_from(EMOTIONS.names), min_size=1).map(lambda words: tuple(sorted(words)))
ANNOTATIONS = st.dictionaries(
    st.tuples(st.sampled_from(["u1", "u10", "u2", ""]), st.sampled_from(["b", "a", "c"])), LABELS
).map(lambda labels_of: [Annotation(*pair, labels) for pair, labels in labels_of.items()])


@given(ANNOTATIONS)
def test_annotations_behave_like_a_list(annotations: list[Annotation]):
    arrays = Annotations.of(annotations)
    assert len(arrays) == len(annotations)
    assert list(arrays) == annotations
    assert arrays == annotations
    assert annotations == arrays
    assert arrays[1:] == annotations[1:]
    assert [arrays[index] for index in range(-len(arrays), len(arrays))] == annotations * 2
    assert Annotations.of(arrays) is arrays
    assert arrays != [*annotations, Annotation("u1", "z", ("sad",))]


@given(ANNOTATIONS)
def test_pairs_of_each_listener_are_sorted_by_utterance(annotations: list[Annotation]):
    naive = {}
    for listener in sorted({annotation.listener for annotation in annotations}):
        pairs = sorted(
            (annotation.utterance_id, annotation.emotions)
            for annotation in annotations
            if annotation.listener == listener
        )
        naive[listener] = tuple(zip(*pairs, strict=True))
    pairs_of = Annotations.of(annotations).by_listener()
    assert pairs_of == naive
    assert list(pairs_of) == list(naive)


@given(ANNOTATIONS)
def test_shares_are_means_over_listeners(annotations: list[Annotation]):
    names, shares = Annotations.of(annotations).shares(EMOTIONS)
    assert names == sorted({annotation.utterance_id for annotation in annotations})
    for name, share in zip(names, shares, strict=True):
        rows = EMOTIONS.distribution(
            [annotation.emotions for annotation in annotations if annotation.utterance_id == name]
        )
        np.testing.assert_allclose(share, rows.mean(axis=0), atol=1e-6)


def test_equal_shares_are_equal_for_any_number_of_listeners():
    """If each emotion has a third of the votes, no share is above 1/3, for any number of listeners."""
    for listeners in range(1, 40):
        annotations = [Annotation("u", str(number), EMOTIONS.names) for number in range(listeners)]
        annotations += [
            Annotation("v", str(number), (EMOTIONS.names[number % 3],)) for number in range(3 * listeners)
        ]
        _, shares = Annotations.of(annotations).shares(EMOTIONS)
        assert (shares == np.float32(1) / np.float32(3)).all()
