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
def test_nobody_is_in_two_parts_and_everybody_in_at_most_one(chosen):
    split = divide(chosen)
    everybody = [person for subset in SUBSETS for person in split.persons[subset]]
    assert len(everybody) == len(set(everybody))
    assert all(split.persons[subset] for subset in SUBSETS)


@given(options)
def test_no_utterance_is_in_two_parts_unless_utterances_are_seen(chosen):
    split = divide(chosen)
    everything = [one for subset in SUBSETS for one in split.utterances[subset]]
    if chosen.scenario == "seen":
        assert all(set(split.utterances[subset]) == set(UTTERANCES) for subset in SUBSETS)
    else:
        assert len(everything) == len(set(everything))
        speakers = {subset: {UTTERANCES[one] for one in split.utterances[subset]} for subset in SUBSETS}
        assert not speakers["train"] & speakers["test"]


@given(st.integers(0, 100), st.sampled_from(["seen", "unseen", "speaker"]))
def test_the_folds_test_everybody_once(seed, scenario):
    tested = [
        person
        for fold in range(4)
        for person in divide(SplitOptions(scenario=scenario, fold=fold, seed=seed)).persons["test"]
    ]
    assert sorted(tested) == sorted(SPEAKERS if scenario == "speaker" else LISTENERS)


def test_on_the_speaker_axis_a_person_brings_their_own_utterances():
    split = divide(SplitOptions(scenario="speaker"))
    for subset in SUBSETS:
        assert {UTTERANCES[one] for one in split.utterances[subset]} == set(split.persons[subset])


def test_named_groups_and_eligible_persons_are_respected():
    chosen = SplitOptions(
        folds=5, held_out=["speaker-3"], eligible=LISTENERS[:5], validation_persons=1, validation_groups=0
    )
    split = divide(chosen)
    assert {UTTERANCES[one] for one in split.utterances["test"]} == {"speaker-3"}
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
def test_a_split_that_leaves_a_part_empty_is_refused_by_key(change, message):
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
def test_impossible_options_name_their_key(change):
    with pytest.raises(ValueError, match=next(reversed(change))):
        SplitOptions(**change)


def test_an_excluded_person_is_in_no_part():
    split = divide(SplitOptions(excluded=LISTENERS[3:5]))
    assert {one for subset in SUBSETS for one in split.persons[subset]} <= {*LISTENERS[:3], *LISTENERS[5:]}
    training = divide(SplitOptions(eligible=LISTENERS[:4], excluded=["listener-9"])).persons["train"]
    assert "listener-9" not in training
    assert "listener-8" in training
