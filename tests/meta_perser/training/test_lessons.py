from __future__ import annotations

import numpy as np

from meta_perser.training.supervised import aggregated_examples, examples_by_listener
from perser.episodes.episode import Task, aggregated_targets
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
TASKS = [
    Task("ann", ("u1", "u2"), (("angry",), ("happy", "sad"))),
    Task("bob", ("u2",), (("sad",),)),
]


def test_one_head_learns_what_the_listeners_say_together():
    examples = aggregated_examples(TASKS, EMOTIONS)
    expected = aggregated_targets(TASKS, EMOTIONS)
    assert examples.utterances == list(expected)
    places, heads, targets = examples.pairs(range(len(examples)))
    assert places.tolist() == [0, 1]
    assert heads.tolist() == [0, 0]
    np.testing.assert_array_equal(targets.numpy(), np.stack(list(expected.values())))


def test_each_listeners_head_learns_what_that_listener_says():
    examples = examples_by_listener(TASKS, EMOTIONS)
    assert examples.utterances == ["u1", "u2"]
    places, heads, targets = examples.pairs([1, 0])
    assert places.tolist() == [0, 0, 1]
    assert heads.tolist() == [0, 1, 0]
    np.testing.assert_allclose(targets, [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])
    assert [examples.count([i]) for i in (0, 1)] == [1, 2]
