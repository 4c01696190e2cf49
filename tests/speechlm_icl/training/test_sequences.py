import numpy as np
import pytest

from perser.episodes.episode import Task
from perser.labels import EmotionSet
from speechlm_icl.training.sequences import PairSequence, SequenceSampler, by_length
from speechlm_icl.training.task_drawing import TaskShares

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
    sequences = SequenceSampler(TASKS, EMOTIONS, pairs=19, shares=TaskShares(renamed=1.0)).draw(30, 0)
    meanings = set()
    for sequence in sequences:
        pairs = zip(sequence.utterances, sequence.answers, strict=True)
        happy = {tuple(answer) for utterance, answer in pairs if int(utterance.partition("u")[2]) % 2 == 0}
        assert len(happy) == 1
        meanings |= happy
    assert meanings == {(0,), (1,), (2,)}


def test_first_answers_are_single_clips_under_the_own_words_drawn_apart_from_the_sequences():
    sampler = SequenceSampler(TASKS, EMOTIONS, pairs=7, shares=TaskShares(renamed=1.0))
    drawn = sampler.draw_first(40, 0, 1)
    assert all(len(one.utterances) == len(one.answers) == 1 and not one.renamed for one in drawn)
    assert len({one.utterances for one in drawn}) > 20
    assert len({one.person for one in drawn}) == 4
    assert drawn == sampler.draw_first(40, 0, 1) != sampler.draw_first(40, 0, 2)
    firsts = [sequence.utterances[0] for sequence in sampler.draw(40, 0, 1)]
    assert firsts != [one.utterances[0] for one in drawn]
    assert sampler.draw_first(0, 0, 1) == []


def test_draw_each_goes_through_all_persons():
    drawn = SequenceSampler(TASKS, EMOTIONS, pairs=1).draw_each(8, 0)
    assert [sequence.utterances[0].partition("u")[0] for sequence in drawn] == ["p0", "p1", "p2", "p3"] * 2


PLENTY = [
    Task(
        f"p{person}",
        tuple(f"p{person}u{i}" for i in range(30)),
        tuple((EMOTIONS.names[i % 3],) for i in range(30)),
    )
    for person in range(3)
]


def told(sequence) -> set[int]:
    """The classes that the enrollment has."""
    return {word for answer in sequence.answers[:-1] for word in answer}


def test_the_number_of_pairs_is_uniform_from_none_to_the_most():
    sequences = SequenceSampler(PLENTY, EMOTIONS, pairs=4, uniform=True).draw(500, 0)
    counts = np.bincount([len(sequence.answers) - 1 for sequence in sequences])
    assert len(counts) == 5
    assert min(counts) > 70


def test_shares_of_sequences_lack_emotions():
    plain = SequenceSampler(PLENTY, EMOTIONS, pairs=12).draw(200, 0)
    mixed = SequenceSampler(PLENTY, EMOTIONS, pairs=12, restricted=0.25, missing=0.25).draw(200, 0)
    assert np.mean([len(told(sequence)) == 3 for sequence in plain]) > 0.95
    assert 0.4 < np.mean([len(told(sequence)) == 3 for sequence in mixed]) < 0.6
    missing = SequenceSampler(PLENTY, EMOTIONS, pairs=12, missing=1.0).draw(50, 0)
    assert not any(told(sequence) & set(sequence.answers[-1]) for sequence in missing)
    restricted = SequenceSampler(PLENTY, EMOTIONS, pairs=12, restricted=1.0).draw(50, 0)
    assert all(len(told(sequence)) < 3 for sequence in restricted)
    assert any(told(sequence) & set(sequence.answers[-1]) for sequence in restricted)


def test_an_enrollment_too_long_for_its_mode_is_halved_until_it_fits():
    """With 29 of one emotion asked for, a person has at most 20 of two."""
    sequences = SequenceSampler(PLENTY, EMOTIONS, pairs=29, missing=1.0).draw(30, 0)
    assert {len(sequence.answers) - 1 for sequence in sequences} == {14}
    assert not any(told(sequence) & set(sequence.answers[-1]) for sequence in sequences)


def test_a_person_of_one_emotion_is_drawn_without_a_mode():
    task = Task("p", ("a", "b", "c"), (("sad",),) * 3)
    (sequence,) = SequenceSampler([task], EMOTIONS, pairs=2, missing=1.0).draw(1, 0)
    assert sorted(sequence.utterances) == ["a", "b", "c"]


def test_parts_are_of_similar_lengths_and_lose_nothing():
    sequences = [PairSequence((f"u{n}",) * n, [[0]] * n) for n in (5, 1, 4, 2, 3, 6)]
    parts = by_length(sequences, 3, lambda one: len(one.answers))
    assert [[len(sequence.answers) for sequence in part] for part in parts] == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("count", [4, 5, 6, 7])
def test_no_part_is_empty_where_they_do_not_divide(count):
    sequences = [PairSequence(("u",), [[0]])] * count
    parts = by_length(sequences, 4, lambda one: 1)
    assert sorted(map(len, parts)) == sorted(len(part) for part in np.array_split(range(count), 4))


def test_no_sequence_has_more_labels_than_asked_for():
    kinds = tuple(f"kind{number}" for number in range(9))
    task = Task("p", tuple(f"v{i}" for i in range(36)), tuple((kinds[i % 9],) for i in range(36)))
    sampler = SequenceSampler([task], EmotionSet(kinds), pairs=30, most_labels=4)
    sizes = {len({index for answer in one.answers for index in answer}) for one in sampler.draw(60, 0)}
    assert sizes == {2, 3, 4}


def test_persons_are_drawn_by_their_weights():
    weights = np.arange(1, len(PLENTY) + 1) / sum(range(1, len(PLENTY) + 1))
    sampler = SequenceSampler(PLENTY, EMOTIONS, pairs=2, weights=weights)
    for drawn in (sampler.draw(3000, 0), sampler.draw_first(3000, 0)):
        shares = np.array([np.mean([one.person == task.person for one in drawn]) for task in PLENTY])
        np.testing.assert_allclose(shares, weights, atol=0.04)
