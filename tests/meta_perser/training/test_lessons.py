from __future__ import annotations

import numpy as np

from meta_perser.training.supervised import aggregated_lessons, listener_lessons
from perser.episodes.episode import Task, aggregated_targets
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
TASKS = [
    Task("ann", ("u1", "u2"), (("angry",), ("happy", "sad"))),
    Task("bob", ("u2",), (("sad",),)),
]


def test_one_head_learns_what_the_listeners_say_together():
    lessons = aggregated_lessons(TASKS, EMOTIONS)
    expected = aggregated_targets(TASKS, EMOTIONS)
    assert lessons.utterances == list(expected)
    places, heads, targets = lessons.pairs(range(len(lessons)))
    assert places.tolist() == [0, 1]
    assert heads.tolist() == [0, 0]
    np.testing.assert_array_equal(targets.numpy(), np.stack(list(expected.values())))


def test_each_listeners_head_learns_what_that_listener_says():
    lessons = listener_lessons(TASKS, EMOTIONS)
    assert lessons.utterances == ["u1", "u2"]
    places, heads, targets = lessons.pairs([1, 0])
    assert places.tolist() == [0, 0, 1]
    assert heads.tolist() == [0, 1, 0]
    np.testing.assert_allclose(targets, [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]])
    assert [lessons.count([i]) for i in (0, 1)] == [1, 2]
