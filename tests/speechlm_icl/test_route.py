import numpy as np
import pytest

from perser.episodes import Support
from perser.errors import UserError
from speechlm_icl.route import SpeechLMPersonalizer

SUPPORT = Support(("u0", "u1", "u2"), (("angry",), ("happy", "sad"), ("sad",)), seed=0)
QUERIES = ["u10", "u11", "u12", "u13"]


@pytest.mark.parametrize("pairs", [None, 0, 2])
def test_predictions_are_distributions(model, store, pairs):
    predictor = SpeechLMPersonalizer(model, store, pairs).personalize(SUPPORT)
    probabilities = predictor.predict_proba(QUERIES)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (4, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert predictor.predict_proba([]).shape == (0, 3)


def test_only_the_first_pairs_are_read(model, store):
    first = Support(SUPPORT.utterances[:2], SUPPORT.emotions[:2], seed=0)
    two = SpeechLMPersonalizer(model, store, 2).personalize(SUPPORT).predict_proba(QUERIES)
    every = SpeechLMPersonalizer(model, store).personalize(first).predict_proba(QUERIES)
    three = SpeechLMPersonalizer(model, store).personalize(SUPPORT).predict_proba(QUERIES)
    np.testing.assert_array_equal(two, every)
    assert not np.allclose(two, three)


def test_a_support_with_too_few_pairs_is_refused(model, store):
    with pytest.raises(UserError, match="4 enrolment pairs"):
        SpeechLMPersonalizer(model, store, 4).personalize(SUPPORT)
    with pytest.raises(UserError, match="-1 enrolment pairs"):
        SpeechLMPersonalizer(model, store, -1)


def test_an_emotion_outside_the_model_is_refused(model, store):
    with pytest.raises(UserError, match="unknown emotion 'bored'"):
        SpeechLMPersonalizer(model, store).personalize(Support(("u0",), (("bored",),), seed=0))


def test_predictors_of_two_people_do_not_disturb_each_other(model, store):
    personalizer = SpeechLMPersonalizer(model, store)
    other = Support(("u3",), (("angry",),), seed=0)
    alone = personalizer.personalize(SUPPORT).predict_proba(QUERIES)
    both = personalizer.personalize_many([SUPPORT, other])
    both[1].predict_proba(QUERIES)
    np.testing.assert_array_equal(both[0].predict_proba(QUERIES), alone)


def test_it_says_how_many_pairs_it_reads(model, store):
    assert SpeechLMPersonalizer(model, store, 4).describe() == {"pairs": 4}
    assert SpeechLMPersonalizer(model, store).describe() == {"pairs": "all"}
