"""Controls of a training: the same queries after enrollments that say less, or as much in another way."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from perser.episodes.episode import Task
from speechlm_icl.training import controls as module
from speechlm_icl.training.controls import PERSONS, QUERIES, draw_controls, measure_controls

CONDITIONS = {"none", "true", "shuffled", "another", "reordered", "renamed"}


def by_person(controls):
    """The controls of each person, by condition. A person's controls ask the same queries."""
    found = defaultdict(dict)
    for control in controls:
        found[control.queries][control.condition] = control
    return list(found.values())


def pairs(control) -> Counter:
    return Counter(zip(control.enrolled, map(tuple, control.answers), strict=True))


def test_each_of_a_few_persons_is_asked_the_same_after_every_enrollment(tasks, emotions):
    drawn = by_person(draw_controls(tasks, emotions, 12, 0))
    assert len(drawn) == PERSONS
    for task, controls in zip(tasks, drawn, strict=False):
        assert set(controls) == CONDITIONS
        true = controls["true"]
        heard = dict(zip(task.utterances, task.emotions, strict=True))
        assert len(true.enrolled) == 12
        assert len(true.queries) == QUERIES
        assert not set(true.enrolled) & set(true.queries)
        for clips, answers in ((true.enrolled, true.answers), (true.queries, true.truth)):
            assert [[emotions.index(word) for word in heard[clip]] for clip in clips] == answers
        assert all(control.truth == true.truth for control in controls.values())


def test_each_condition_changes_one_thing(tasks, emotions):
    for controls in by_person(draw_controls(tasks, emotions, 12, 0)):
        true = controls["true"]
        assert controls["none"].enrolled == ()
        assert controls["shuffled"].enrolled == true.enrolled
        assert controls["shuffled"].answers != true.answers
        assert sorted(controls["shuffled"].answers) == sorted(true.answers)
        assert pairs(controls["reordered"]) == pairs(true)
        assert controls["reordered"].enrolled != true.enrolled
        assert pairs(controls["renamed"]) == pairs(true)
        assert [control.words is not None for control in (controls["renamed"], true)] == [True, False]


def test_another_persons_pairs_hold_no_clip_that_is_asked(tasks, emotions):
    drawn = by_person(draw_controls(tasks, emotions, 12, 0))
    for number, controls in enumerate(drawn):
        other = drawn[(number + 1) % len(drawn)]["true"]
        assert pairs(controls["another"]) <= pairs(other)
        assert not set(controls["another"].enrolled) & set(controls["another"].queries)


def test_one_person_has_no_other_and_few_clips_leave_a_query(tasks, emotions):
    few = Task("few", tasks[0].utterances[:4], tasks[0].emotions[:4])
    controls = draw_controls([few], emotions, 12, 0)
    assert {control.condition for control in controls} == CONDITIONS - {"another"}
    assert {len(control.queries) for control in controls} == {1}


def test_the_draw_depends_on_its_seed_alone(tasks, emotions):
    first, again, other = (draw_controls(tasks, emotions, 12, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_losses_and_accuracies_are_means_over_queries(model, tasks, store, emotions, monkeypatch):
    """Scores are replaced by ones that know the truth after true pairs, and nothing otherwise."""
    controls = draw_controls(tasks, emotions, 12, 0)
    asked = iter(controls)

    def scores(reader, enrolled, answers, queries):
        control = next(asked)
        assert (enrolled is None) == (control.condition == "none")
        assert (reader is model) == (control.condition != "renamed")
        found = torch.zeros(len(queries), 3)
        if control.condition == "true":
            for row, answer in zip(found, control.truth, strict=True):
                row[answer] = np.log(2)
        return found

    monkeypatch.setattr(module, "label_log_probabilities", scores)
    values = measure_controls(model, controls, store)
    assert values["control_true_accuracy"] == 1
    assert values["control_true_loss"] == pytest.approx(np.log(2))
    assert values["control_none_loss"] == pytest.approx(np.log(3))
    assert set(values) == {f"control_{name}_{kind}" for name in CONDITIONS for kind in ("loss", "accuracy")}


def test_a_model_measures_all_controls_and_renamed_words_are_others(model, tasks, store, emotions):
    values = measure_controls(model, draw_controls(tasks, emotions, 6, 0), store)
    assert all(np.isfinite(value) for value in values.values())
    renamed = module._renamed(model, 0).prompt.emotions.names
    assert len(set(renamed)) == len(emotions)
    assert renamed != emotions.names
