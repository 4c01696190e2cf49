import numpy as np
import pytest

from perser.episodes.episode import Support
from perser.errors import UserError
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.prompt.demonstrations import DemonstrationOptions, reorderings

from .conftest import make_model

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
    with pytest.raises(UserError, match="4 enrollment pairs"):
        SpeechLMPersonalizer(model, store, 4).personalize(SUPPORT)
    with pytest.raises(UserError, match="-1 enrollment pairs"):
        SpeechLMPersonalizer(model, store, -1)


def test_an_emotion_that_the_model_does_not_know_is_refused(model, store):
    with pytest.raises(UserError, match="unknown emotion 'bored'"):
        SpeechLMPersonalizer(model, store).personalize(Support(("u0",), (("bored",),), seed=0))


def test_predictors_of_two_persons_do_not_affect_each_other(model, store):
    personalizer = SpeechLMPersonalizer(model, store)
    other = Support(("u3",), (("angry",),), seed=0)
    alone = personalizer.personalize(SUPPORT).predict_proba(QUERIES)
    both = personalizer.personalize_many([SUPPORT, other])
    both[1].predict_proba(QUERIES)
    np.testing.assert_array_equal(both[0].predict_proba(QUERIES), alone)


def test_the_description_says_how_many_pairs_are_read(model, store):
    assert SpeechLMPersonalizer(model, store, 4).describe() == {"pairs": 4}
    assert SpeechLMPersonalizer(model, store).describe() == {"pairs": "all"}
    chosen = SpeechLMPersonalizer(model, store, 4, DemonstrationOptions(orders=2, chosen=True))
    assert chosen.describe() == {"pairs": 4, "orders": 2, "chosen": True}


def test_several_orders_are_averaged(model, store):
    read = [SpeechLMPersonalizer(model, store).personalize(order) for order in reorderings(SUPPORT, 3)]
    alone = [predictor.predict_proba(QUERIES) for predictor in read]
    assert not np.allclose(alone[0], alone[1])
    together = SpeechLMPersonalizer(model, store, options=DemonstrationOptions(orders=3)).personalize(SUPPORT)
    np.testing.assert_allclose(together.predict_proba(QUERIES), np.mean(alone, axis=0), atol=1e-6)


def test_calibration_divides_by_the_bias_of_the_same_enrollment(model, store):
    plain = SpeechLMPersonalizer(model, store).personalize(SUPPORT).predict_proba(QUERIES)
    method = SpeechLMPersonalizer(model, store, options=DemonstrationOptions(calibrated=True))
    calibrated = method.personalize(SUPPORT).predict_proba(QUERIES)
    ratios = calibrated / plain
    ratios /= ratios.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ratios, np.tile(ratios[:1], (4, 1)), rtol=1e-4)  # 1 / p_cf, for every query
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)


def test_the_chosen_pairs_are_read_in_the_supports_order(model, store):
    support = Support(
        tuple(f"u{i}" for i in range(9)),
        tuple((("angry",), ("happy",), ("sad",))[i % 3] for i in range(9)),
        seed=0,
    )
    method = SpeechLMPersonalizer(model, store, 3, DemonstrationOptions(chosen=True))
    chosen = method.enrolled(support)
    places = [support.utterances.index(name) for name in chosen.utterances]
    assert places == sorted(places)
    assert set(chosen.emotions) == {("angry",), ("happy",), ("sad",)}
    assert len(method.personalize(support).predict_proba(QUERIES)) == 4
    assert method.personalize(support).enrollments[0].length < len(model.prompt.encode([[0]] * 4).token_ids)
    with pytest.raises(UserError, match="support has 2"):
        method.personalize(support.first(2))
    with pytest.raises(UserError, match="how many pairs"):
        SpeechLMPersonalizer(model, store, options=DemonstrationOptions(chosen=True))


@pytest.mark.parametrize("pairs", [0, 1, 2, 3, None])
def test_a_supports_own_clips_are_answered_without_having_been_read(model, store, pairs):
    """Of three pairs, two are read for the third where the method reads so many."""
    personalizer = SpeechLMPersonalizer(model, store, pairs)
    predicted = personalizer.predict_support(SUPPORT)
    assert predicted.shape == (len(SUPPORT), len(model.prompt.emotions))
    for place, name in enumerate(SUPPORT.utterances):
        others = [other for other in range(len(SUPPORT)) if other % 4 != place % 4]
        rest = SUPPORT.ordered(others)
        read = SpeechLMPersonalizer(model, store, None if pairs is None else min(pairs, len(rest)))
        np.testing.assert_allclose(
            predicted[place], read.personalize(rest).predict_proba([name])[0], atol=1e-5
        )


def test_features_standardized_by_other_clips_are_those_of_a_model_fitted_to_them(model, store):
    """As `Projector.fit_standardization`, without a change of the model."""
    names = [f"u{number}" for number in range(12)]
    plain = SpeechLMPersonalizer(model, store)
    before = plain.personalize(SUPPORT).predict_proba(QUERIES)
    moved = plain.standardized_by(names, prior_clips=0.0).personalize(SUPPORT).predict_proba(QUERIES)
    np.testing.assert_array_equal(plain.personalize(SUPPORT).predict_proba(QUERIES), before)
    assert np.abs(moved - before).max() > 1e-6
    model.projector.fit_standardization(store[name] for name in names)
    np.testing.assert_allclose(plain.personalize(SUPPORT).predict_proba(QUERIES), moved, atol=1e-6)


def test_another_wording_changes_the_label_words_and_is_refused_where_the_vocabulary_lacks_it(store, tasks):
    model = make_model(prompt={"label_words": {"angry": "happy", "happy": "angry"}})
    method = SpeechLMPersonalizer(model, store, 2)
    support = Support(tasks[0].utterances[:2], tasks[0].emotions[:2], seed=0)
    own = method.personalize(support).predict_proba(["u7", "u8"])
    same = method.worded(None, {"angry": "happy", "happy": "angry", "sad": "sad"})
    np.testing.assert_allclose(same.personalize(support).predict_proba(["u7", "u8"]), own, atol=1e-6)
    other = method.worded(None, {"angry": "angry", "happy": "happy", "sad": "sad"})
    assert np.abs(other.personalize(support).predict_proba(["u7", "u8"]) - own).max() > 1e-6
    assert other.model.prompt.labels != model.prompt.labels
    with pytest.raises(UserError, match="knows no other words than those of its training"):
        method.worded("Which emotion?", {"angry": "angry", "happy": "happy", "sad": "sad"})
    with pytest.raises(UserError, match="cannot encode the label 'fury'"):
        method.worded(None, {"angry": "fury"})
