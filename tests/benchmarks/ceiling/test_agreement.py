"""Alpha is that of the package krippendorff, also with MASI distances; agreement is what it is by hand."""

import krippendorff
import numpy as np
import pytest

from benchmarks.ceiling.agreement import masi_distances, measure_agreement, nominal_alpha
from benchmarks.ceiling.answers import Answers
from perser.corpora.listing import Annotation
from perser.labels import EmotionSet

EMOTIONS = EmotionSet(("angry", "happy", "neutral"))


def answers_of(sets):
    """`sets`: (listener, utterance) -> emotions."""
    annotations = [Annotation(utterance, listener, words) for (listener, utterance), words in sets.items()]
    return Answers.of(annotations, EMOTIONS, "a corpus")


def masi_by_definition(a, b):
    both, either = len(a & b), len(a | b)
    monotonicity = 1 if a == b else 2 / 3 if a <= b or b <= a else 1 / 3 if both else 0
    return 1 - both / either * monotonicity


def random_sets(most, seed=0):
    rng = np.random.default_rng(seed)
    return {
        (f"listener-{listener}", f"u{utterance}"): tuple(
            rng.permutation(EMOTIONS.names)[: rng.integers(1, most + 1)].tolist()
        )
        for listener in range(5)
        for utterance in range(30)
        if rng.random() < 0.6
    }


@pytest.mark.parametrize(("most", "distance"), [(1, "nominal"), (3, "MASI")])
def test_alpha_is_that_of_another_implementation(most, distance):
    sets = random_sets(most)
    domain = sorted({tuple(sorted(words)) for words in sets.values()})
    utterances = sorted({utterance for _, utterance in sets})
    counts = np.zeros((len(utterances), len(domain)), dtype=int)
    for (_, utterance), words in sets.items():
        counts[utterances.index(utterance), domain.index(tuple(sorted(words)))] += 1

    def metric(v1, v2, i1, i2, n_v, dtype=np.float64):
        distances = [[masi_by_definition({*a}, {*b}) ** 0.5 for b in domain] for a in domain]
        return np.array(distances)[i1, i2] ** 2

    expected = krippendorff.alpha(value_counts=counts, level_of_measurement=metric)
    found = measure_agreement(answers_of(sets))
    assert found["distance"] == distance
    assert found["alpha"]["mean"] == pytest.approx(expected)
    assert found["alpha"]["low"] < expected < found["alpha"]["high"]


def test_masi_distances_are_those_of_the_definition():
    sets = [{0}, {1}, {0, 1}, {1, 2}, {0, 1, 2}]
    table = np.array([[emotion in members for emotion in range(3)] for members in sets])
    expected = [[masi_by_definition(a, b) for b in sets] for a in sets]
    assert masi_distances(table) == pytest.approx(np.array(expected))


def test_agreement_of_pairs_and_with_the_others_is_that_by_hand():
    sets = {("a", "u"): ("angry",), ("b", "u"): ("angry",), ("c", "u"): ("happy",)}
    sets |= {("a", "v"): ("happy",), ("b", "v"): ("neutral",)}
    found = measure_agreement(answers_of(sets))
    assert found["pairwise"]["mean"] == pytest.approx((1 / 3 + 0) / 2)
    others = found["agreement_with_others"]
    # In u, the others of a gave angry and happy once each; those of c gave angry twice.
    assert others["by_listener"] == pytest.approx({"a": 0.25, "b": 0.25, "c": 0})
    assert others["mean"]["mean"] == pytest.approx((0.5 + 0.5) / 5)


def test_what_needs_to_know_who_answered_is_left_out_where_nobody_knows():
    sets = {
        (f"unknown-{number}", utterance): words
        for (name, utterance), words in random_sets(1).items()
        for number in [name[-1]]
    }
    others = measure_agreement(answers_of(sets))["agreement_with_others"]
    assert others["by_listener"] is others["deviation"] is None
    assert 0 < others["mean"]["mean"] < 1


FEW_RATERS = np.array([[3, 0, 0], [0, 3, 0], [1, 0, 3], [0, 4, 0], [1, 1, 1], [0, 0, 4], [0, 1, 0]])
"""Votes of several raters, each on some units."""


def test_alpha_of_votes_is_krippendorffs():
    rng = np.random.default_rng(0)
    for votes in (FEW_RATERS, rng.multinomial(5, rng.dirichlet(np.ones(4), 20))):
        expected = krippendorff.alpha(value_counts=votes, level_of_measurement="nominal")
        assert nominal_alpha(votes.astype(float)) == pytest.approx(expected)
