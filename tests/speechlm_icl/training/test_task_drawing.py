"""The tasks of training sequences: renamed, with fewer or merged labels, without words, in drawn styles."""

import numpy as np
import pytest

from perser.episodes.episode import Task
from perser.labels import EmotionSet
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.sequences import SequenceSampler
from speechlm_icl.training.task_drawing import TaskShares, balanced_start, draw_style, draw_words

EMOTIONS = EmotionSet(("angry", "happy", "neutral", "sad"))
TASK = Task("p", tuple(f"u{i}" for i in range(80)), tuple((EMOTIONS.names[i % 4],) for i in range(80)))
NOUNS = [f"noun{i}" for i in range(20)]


def drawn(count=200, pairs=30, drawable=(), **shares):
    sampler = SequenceSampler([TASK], EMOTIONS, pairs, shares=TaskShares(**shares), drawable=drawable)
    return sampler.draw(count, 0)


def words_by_class(sequence):
    """The words that a sequence has for each true emotion."""
    words = sequence.words or EMOTIONS.names
    found = {}
    for utterance, answer in zip(sequence.utterances, sequence.answers, strict=True):
        found.setdefault(int(utterance[1:]) % 4, set()).update(words[index] for index in answer)
    return found


def test_drawn_words_are_one_for_each_emotion_and_new_in_every_sequence():
    sequences = drawn(renamed=1.0, drawable=NOUNS)
    seen = set()
    for sequence in sequences:
        meanings = words_by_class(sequence)
        assert all(len(words) == 1 for words in meanings.values())
        assert len(set.union(*meanings.values())) == len(meanings)
        seen |= {tuple(sorted(words)) for words in meanings.values()}
    assert len(seen) == len(NOUNS) + len(EMOTIONS)


def test_of_thousands_of_words_a_quarter_of_the_sequences_swaps_the_own_ones():
    rng = np.random.default_rng(0)
    found = [draw_words(EMOTIONS.names, [f"w{i}" for i in range(1000)], rng) for _ in range(1000)]
    assert sum(words is None for words in found) == pytest.approx(250, abs=50)


def test_subsets_have_two_to_all_emotions_equally_often():
    sizes = [
        len({index for answer in sequence.answers for index in answer})
        for sequence in drawn(600, subsets=1.0)
    ]
    counts = np.bincount(sizes, minlength=5)
    assert counts[:2].sum() == 0
    assert counts[2:].min() > 150


def test_merged_emotions_share_a_word_and_two_words_remain():
    for sequence in drawn(renamed=1.0, merged=1.0, drawable=NOUNS):
        meanings = words_by_class(sequence)
        assert all(len(words) == 1 for words in meanings.values())
        assert 2 <= len(set.union(*meanings.values())) < len(meanings)


def test_emotions_without_a_word_are_answered_with_other_and_come_late():
    for sequence in drawn(renamed=1.0, other=1.0, drawable=NOUNS):
        meanings = words_by_class(sequence)
        unnamed = {emotion for emotion, words in meanings.items() if words == {"other"}}
        assert 1 <= len(unnamed) <= 2
        assert all("other" not in words for emotion, words in meanings.items() if emotion not in unnamed)
        others = [int(utterance[1:]) % 4 in unnamed for utterance in sequence.utterances]
        named = others.count(False)
        assert not any(others[: named // 2])
        assert len(set(sequence.utterances)) == 31


def test_a_style_answers_about_the_same_clips_mostly_as_heard_and_anew_each_time():
    """Persons differ about clips that listeners disagree on, and hardly about those on which all agree."""
    shares = {utterance: 0.4 * np.eye(4)[i % 4] + 0.15 for i, utterance in enumerate(TASK.utterances)}
    agreed = {utterance: np.eye(4)[i % 4] for i, utterance in enumerate(TASK.utterances)}
    rng = np.random.default_rng(0)
    styles = [draw_style(TASK, shares, EMOTIONS, rng) for _ in range(50)]
    assert all(style.utterances == TASK.utterances for style in styles)
    sure = [draw_style(TASK, agreed, EMOTIONS, rng) for _ in range(50)]
    assert 0.5 < _agreement(styles) < 0.9 < _agreement(sure)
    assert len({style.emotions for style in styles}) == 50


def _agreement(styles):
    """Share of the answers that are the actor's emotion."""
    return np.mean([a == b for style in styles for a, b in zip(style.emotions, TASK.emotions, strict=True)])


def test_the_permuted_share_stays_for_half_of_the_training_and_then_changes_evenly():
    options = IclOptions(permute_labels=1.0, permute_labels_end=0.2, steps=100)
    assert [options.permuted_share(step) for step in (1, 50)] == [1.0, 1.0]
    assert options.permuted_share(75) == pytest.approx(0.6)
    assert options.permuted_share(100) == pytest.approx(0.2)
    assert IclOptions(permute_labels=0.3).permuted_share(100) == pytest.approx(0.3)
    assert not IclOptions().permutes


def test_balanced_starts_have_as_many_of_each_emotion_and_the_rest_stays():
    starts = []
    for sequence in drawn(300, balanced=1.0):
        classes = [answer[0] for answer in sequence.answers[:-1]]
        assert len(set(sequence.utterances)) == 31
        counts = np.zeros((len(classes) + 1, 4), dtype=int)
        counts[1:] = np.cumsum(np.eye(4, dtype=int)[classes], axis=0)
        total = counts[-1]
        fits = [
            most
            for most in range(1, 6)
            if (counts[np.minimum(total, most).sum()] == np.minimum(total, most)).all()
        ]
        assert fits
        starts.append(fits[-1])
    assert set(starts) == {1, 2, 3, 4, 5}


def test_a_balanced_start_leaves_the_query_last_and_keeps_every_clip():
    labels = [("sad",), ("happy",), ("happy",), ("sad",), ("angry",), ("happy",)]
    for seed in range(20):
        order = balanced_start(labels, np.random.default_rng(seed))
        assert sorted(order) == list(range(6))
        assert order[-1] == 5


def test_own_words_are_trained_unless_all_sequences_are_renamed_to_the_end():
    assert IclOptions().trains_own_words
    assert not IclOptions(permute_labels=1.0).trains_own_words
    assert IclOptions(permute_labels=1.0, permute_labels_end=0.5).trains_own_words
    assert IclOptions(permute_labels=0.5, permute_labels_end=1.0).trains_own_words
