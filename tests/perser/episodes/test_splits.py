from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.episodes.splits import SUBSETS, SplitOptions, split_corpus
from perser.errors import UserError

LISTENERS = [f"listener-{i}" for i in range(14)]
SPEAKERS = [f"speaker-{i}" for i in range(12)]
UTTERANCES = {f"u{i}": SPEAKERS[i % len(SPEAKERS)] for i in range(60)}


def divide(options: SplitOptions):
    persons = SPEAKERS if options.scenario == "speaker" else LISTENERS
    return split_corpus(options, persons, UTTERANCES, UTTERANCES)


options = st.builds(
    SplitOptions,
    scenario=st.sampled_from(["seen", "unseen", "speaker"]),
    folds=st.just(4),
    fold=st.integers(0, 3),
    validation_persons=st.integers(1, 3),
    validation_groups=st.integers(1, 3),
    seed=st.integers(0, 1000),
)


@given(options)
def test_no_person_is_in_two_subsets(chosen):
    split = divide(chosen)
    everybody = [person for subset in SUBSETS for person in split.persons[subset]]
    assert len(everybody) == len(set(everybody))
    assert all(split.persons[subset] for subset in SUBSETS)


@given(options)
def test_no_utterance_is_in_two_subsets_unless_the_scenario_is_seen(chosen):
    split = divide(chosen)
    everything = [name for subset in SUBSETS for name in split.utterances[subset]]
    if chosen.scenario == "seen":
        assert all(set(split.utterances[subset]) == set(UTTERANCES) for subset in SUBSETS)
    else:
        assert len(everything) == len(set(everything))
        speakers = {subset: {UTTERANCES[name] for name in split.utterances[subset]} for subset in SUBSETS}
        assert not speakers["train"] & speakers["test"]


@given(st.integers(0, 100), st.sampled_from(["seen", "unseen", "speaker"]))
def test_the_folds_test_every_person_once(seed, scenario):
    tested = [
        person
        for fold in range(4)
        for person in divide(SplitOptions(scenario=scenario, fold=fold, seed=seed)).persons["test"]
    ]
    assert sorted(tested) == sorted(SPEAKERS if scenario == "speaker" else LISTENERS)


def test_on_the_speaker_axis_a_subset_has_the_utterances_of_its_speakers():
    split = divide(SplitOptions(scenario="speaker"))
    for subset in SUBSETS:
        assert {UTTERANCES[name] for name in split.utterances[subset]} == set(split.persons[subset])


def test_named_groups_and_eligible_persons_are_respected():
    chosen = SplitOptions(
        folds=5, held_out=["speaker-3"], eligible=LISTENERS[:5], validation_persons=1, validation_groups=0
    )
    split = divide(chosen)
    assert {UTTERANCES[name] for name in split.utterances["test"]} == {"speaker-3"}
    assert set(split.persons["test"]) | set(split.persons["validation"]) <= set(LISTENERS[:5])
    assert set(LISTENERS[5:]) <= set(split.persons["train"])
    assert split.utterances["validation"] == split.utterances["train"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 40}, "folds"),
        ({"held_out": ["nobody"]}, "held_out"),
        ({"eligible": ["nobody", *LISTENERS]}, "eligible"),
        ({"excluded": ["nobody"]}, "excluded"),
        ({"validation_groups": 50}, "validation_groups"),
        ({"held_out": SPEAKERS, "validation_groups": 0}, "left to train on"),
    ],
)
def test_the_error_for_an_empty_subset_names_the_option(change, message):
    with pytest.raises(UserError, match=message):
        divide(SplitOptions(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"folds": 1},
        {"fold": 4},
        {"validation_persons": 0},
        {"validation_groups": -1},
        {"scenario": "seen", "held_out": ["1"]},
        {"eligible": ["a", "b"], "excluded": ["b"]},
    ],
)
def test_the_error_for_an_impossible_option_names_it(change):
    with pytest.raises(ValueError, match=next(reversed(change))):
        SplitOptions(**change)


def test_an_excluded_person_is_in_no_subset():
    split = divide(SplitOptions(excluded=LISTENERS[3:5]))
    assert {person for subset in SUBSETS for person in split.persons[subset]} <= {
        *LISTENERS[:3],
        *LISTENERS[5:],
    }
    training = divide(SplitOptions(eligible=LISTENERS[:4], excluded=["listener-9"])).persons["train"]
    assert "listener-9" not in training
    assert "listener-8" in training
