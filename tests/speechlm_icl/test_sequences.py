import numpy as np
import pytest

from perser.episodes import Task
from perser.labels import EmotionSet
from speechlm_icl.sequences import SequenceSampler

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
TASKS = [
    Task(
        f"p{person}",
        tuple(f"p{person}u{i}" for i in range(20)),
        tuple((("angry", "sad") if i % 2 else ("happy",)) for i in range(20)),
    )
    for person in range(4)
]


def test_a_sequence_is_one_person_with_no_clip_twice_and_their_own_labels():
    for sequence in SequenceSampler(TASKS, EMOTIONS, pairs=7).draw(20, 0):
        assert len(sequence.utterances) == len(set(sequence.utterances)) == 8
        assert len({utterance.partition("u")[0] for utterance in sequence.utterances}) == 1
        for utterance, answer in zip(sequence.utterances, sequence.answers, strict=True):
            number = int(utterance.partition("u")[2])
            assert sorted(answer) == ([0, 2] if number % 2 else [1])


def test_persons_are_mixed_and_the_draw_depends_on_its_seeds_alone():
    sampler = SequenceSampler(TASKS, EMOTIONS, pairs=3)
    drawn = sampler.draw(40, 5, 1)
    assert len({sequence.utterances[0].partition("u")[0] for sequence in drawn}) == 4
    assert drawn == SequenceSampler(TASKS, EMOTIONS, pairs=3).draw(40, 5, 1)
    assert drawn != sampler.draw(40, 5, 2)


def test_several_emotions_come_in_either_order():
    sequences = SequenceSampler(TASKS, EMOTIONS, pairs=19).draw(40, 0)
    first = [answer[0] for sequence in sequences for answer in sequence.answers if len(answer) == 2]
    assert np.mean(np.equal(first, 0)) == pytest.approx(0.5, abs=0.1)


def test_a_person_with_few_clips_gives_a_shorter_sequence():
    (sequence,) = SequenceSampler(TASKS[:1], EMOTIONS, pairs=32).draw(1, 0)
    assert len(sequence.utterances) == 20


def test_permuted_labels_are_consistent_within_a_sequence_and_vary_between():
    sequences = SequenceSampler(TASKS, EMOTIONS, pairs=19, permute_labels=1.0).draw(30, 0)
    meanings = set()
    for sequence in sequences:
        pairs = zip(sequence.utterances, sequence.answers, strict=True)
        happy = {tuple(answer) for utterance, answer in pairs if int(utterance.partition("u")[2]) % 2 == 0}
        assert len(happy) == 1
        meanings |= happy
    assert meanings == {(0,), (1,), (2,)}


def test_every_person_in_turn():
    drawn = SequenceSampler(TASKS, EMOTIONS, pairs=1).draw_each(8, 0)
    assert [sequence.utterances[0].partition("u")[0] for sequence in drawn] == ["p0", "p1", "p2", "p3"] * 2
