from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perser.corpora.annotations import Annotations
from perser.corpora.listing import Annotation
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
LABELS = st.sets(st.sampled_from(EMOTIONS.names), min_size=1).map(lambda words: tuple(sorted(words)))
GIVEN = st.dictionaries(
    st.tuples(st.sampled_from(["u1", "u10", "u2", ""]), st.sampled_from(["b", "a", "c"])), LABELS
).map(lambda given: [Annotation(*key, labels) for key, labels in given.items()])


@given(GIVEN)
def test_they_are_a_list_of_annotations(annotations: list[Annotation]):
    kept = Annotations.of(annotations)
    assert len(kept) == len(annotations)
    assert list(kept) == annotations
    assert kept == annotations
    assert annotations == kept
    assert kept[1:] == annotations[1:]
    assert [kept[place] for place in range(-len(kept), len(kept))] == annotations * 2
    assert Annotations.of(kept) is kept
    assert kept != [*annotations, Annotation("u1", "z", ("sad",))]


@given(GIVEN)
def test_each_listeners_pairs_are_sorted_by_utterance(annotations: list[Annotation]):
    naive = {}
    for listener in sorted({one.listener for one in annotations}):
        pairs = sorted((one.utterance_id, one.emotions) for one in annotations if one.listener == listener)
        naive[listener] = tuple(zip(*pairs, strict=True))
    found = Annotations.of(annotations).by_listener()
    assert found == naive
    assert list(found) == list(naive)


@given(GIVEN)
def test_shares_are_means_over_listeners(annotations: list[Annotation]):
    names, shares = Annotations.of(annotations).shares(EMOTIONS)
    assert names == sorted({one.utterance_id for one in annotations})
    for name, share in zip(names, shares, strict=True):
        rows = EMOTIONS.distribution([one.emotions for one in annotations if one.utterance_id == name])
        np.testing.assert_allclose(share, rows.mean(axis=0), atol=1e-6)


def test_equal_shares_are_equal_whatever_they_were_summed_from():
    """A third of the votes each is above no third, for any number of listeners."""
    for listeners in range(1, 40):
        given = [Annotation("u", str(one), EMOTIONS.names) for one in range(listeners)]
        given += [Annotation("v", str(one), (EMOTIONS.names[one % 3],)) for one in range(3 * listeners)]
        _, shares = Annotations.of(given).shares(EMOTIONS)
        assert (shares == np.float32(1) / np.float32(3)).all()
