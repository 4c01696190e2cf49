"""The ceiling is the accuracy that the consensus reaches on new answers; the naive one is too high."""

import numpy as np
import pytest

from benchmarks.ceiling.answers import Answers
from benchmarks.ceiling.consensus import fit_dirichlet, measure_ceiling, others_shares
from perser.corpora.listing import Annotation
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "neutral"))
ALPHA = np.array([0.3, 0.6, 1.2])


def answers_of(votes):
    """Return answers of unknown listeners with these counts (num_utterances, C)."""
    annotations = []
    for utterance, row in enumerate(votes):
        words = np.repeat(EMOTIONS.names, row).tolist()
        annotations += [
            Annotation(f"u{utterance:05d}", f"unknown-{number}", (word,)) for number, word in enumerate(words)
        ]
    return Answers.of(annotations, EMOTIONS, "a corpus")


@pytest.fixture(scope="module")
def generated():
    """The true shares, and seven answers to each utterance, from a known Dirichlet distribution."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(ALPHA, 4000)
    return shares, rng.multinomial(7, shares)


def test_the_fit_finds_the_distribution(generated):
    assert fit_dirichlet(generated[1].astype(float)) == pytest.approx(ALPHA, rel=0.1)


def test_the_ceiling_is_reached_on_new_answers_and_the_naive_one_is_not(generated):
    shares, votes = generated
    found = measure_ceiling(answers_of(votes), (1, 10))
    rng = np.random.default_rng(1)
    guess = (votes + ALPHA).argmax(axis=1)
    for size, ceiling in found.items():
        reached, known = [], []
        for _ in range(50):
            counts = rng.multinomial(int(size), shares)
            most = counts == counts.max(axis=1, keepdims=True)
            most = most / most.sum(axis=1, keepdims=True)
            reached.append(most[np.arange(len(most)), guess].mean())
            known.append(most[np.arange(len(most)), shares.argmax(axis=1)].mean())
        assert ceiling["mean"] == pytest.approx(np.mean(reached), abs=0.01)
        assert ceiling["known_shares"] == pytest.approx(np.mean(known), abs=0.01)
        assert ceiling["naive"] > np.mean(reached) + 0.03
        assert ceiling["low"] < ceiling["mean"] < ceiling["high"]


def test_an_answer_is_not_in_what_the_others_let_expect(generated):
    answers = answers_of([[2, 1, 0], [0, 3, 1], [1, 1, 1]])
    alpha = fit_dirichlet(answers.votes)
    own = answers.labels.argmax(axis=1)
    expected = answers.votes[answers.utterance] + alpha
    expected[np.arange(len(own)), own] -= 1
    shares, others = others_shares(answers)
    assert shares == pytest.approx(expected / expected.sum(axis=1, keepdims=True))
    assert others == pytest.approx((3 * 2 + 4 * 3 + 3 * 2) / 10)


def test_the_others_of_the_other_half_are_half_as_many(generated):
    answers = answers_of(generated[1])
    shares, others = others_shares(answers, np.random.default_rng(0))
    assert others == pytest.approx((4 * 3 + 3 * 4) / 7)
    assert shares.sum(axis=1) == pytest.approx(1)
    own = answers.labels.argmax(axis=1)
    with_all = others_shares(answers)[0]
    losses = [-np.log(found[np.arange(len(own)), own]).mean() for found in (with_all, shares)]
    assert losses[0] < losses[1]
