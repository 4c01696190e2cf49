from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.episodes.draw import draw_episode, draw_episodes
from perser.episodes.episode import Task, aggregated_labels, aggregated_targets, tasks_of
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.splits import SplitOptions
from perser.errors import UserError
from perser.labels import EmotionSet


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 5), st.integers(0, 10**6))
def test_no_query_utterance_is_in_the_support(k, q, spare, seed):
    size = k + q + spare
    task = Task("p", tuple(f"u{i}" for i in range(size)), tuple((f"e{i}",) for i in range(size)))
    episode = draw_episode(task, k, q, seed)
    drawn = [*episode.support.utterances, *episode.query_utterances]
    assert len(episode.support) == k
    assert len(set(drawn)) == k + q
    labels = dict(zip(task.utterances, task.emotions, strict=True))
    assert list(episode.support.emotions) == [labels[name] for name in episode.support.utterances]
    assert list(episode.query_emotions) == [labels[name] for name in episode.query_utterances]


@given(st.integers(1, 6), st.integers(0, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_episodes_of_several_k_have_the_same_query_and_nested_supports(k, more, q, seed):
    total = k + more + q
    task = Task("p", tuple(f"u{i}" for i in range(total)), tuple((f"e{i}",) for i in range(total)))
    small, large = (draw_episode(task, size, q, seed, largest_k=k + more) for size in (k, k + more))
    assert small.query_utterances == large.query_utterances
    assert small.support == large.support.first(k)
    assert large == draw_episode(task, k + more, q, seed)


@pytest.mark.parametrize("mode", ["restricted", "missing"])
def test_the_file_stores_the_mode_and_its_supports_lack_emotions(toy_corpus, toy_split, mode, tmp_path):
    drawn = draw_episodes(toy_corpus, toy_split, k=4, q=4, seeds=2, mode=mode)
    drawn.save(tmp_path / "episodes.json")
    assert EpisodeFile.load(tmp_path / "episodes.json") == drawn
    assert drawn.mode == mode
    assert drawn.setting == f"unseen ({mode} enrollment)"
    tasks = tasks_of(toy_corpus, "listener")
    for episode in (*drawn.episodes, *drawn.validation_episodes):
        enrolled = {emotion for emotions in episode.support.emotions for emotion in emotions}
        assert enrolled < {emotion for emotions in tasks[episode.person].emotions for emotion in emotions}
        if mode == "missing":
            assert not enrolled & {emotion for emotions in episode.query_emotions for emotion in emotions}


@pytest.mark.parametrize("mode", ["any", "restricted", "missing"])
def test_in_every_mode_a_smaller_support_is_the_beginning_of_a_larger(mode):
    task = Task("p", tuple(f"u{i}" for i in range(40)), tuple((f"e{i % 4}",) for i in range(40)))
    small, large = (draw_episode(task, k, 5, seed=3, largest_k=8, mode=mode) for k in (2, 8))
    assert small.query_utterances == large.query_utterances
    assert small.support == large.support.first(2)


def test_an_unknown_or_impossible_mode_is_refused(toy_corpus, toy_split):
    with pytest.raises(UserError, match="mode: 'some' is none of any, restricted, missing"):
        draw_episodes(toy_corpus, toy_split, k=4, q=4, seeds=1, mode="some")
    with pytest.raises(UserError, match=r"K \+ Q = 500 \+ 1 in mode 'missing' is more than any"):
        draw_episodes(toy_corpus, toy_split, k=500, q=1, seeds=1, mode="missing")
    with pytest.raises(ValueError, match="in mode 'missing'"):
        draw_episode(Task("p", ("u", "v"), (("a",), ("a",))), 1, 1, 0, mode="missing")


def test_a_file_without_a_mode_has_the_mode_any(toy_episodes, tmp_path):
    path = tmp_path / "episodes.json"
    toy_episodes.save(path)
    content = json.loads(path.read_text())
    del content["mode"]
    path.write_text(json.dumps(content))
    assert EpisodeFile.load(path) == toy_episodes
    assert toy_episodes.setting == toy_episodes.scenario


def test_a_k_above_the_largest_is_refused(toy_corpus, toy_split):
    with pytest.raises(UserError, match="largest_k: 4 is below k = 8"):
        draw_episodes(toy_corpus, toy_split, k=8, q=16, seeds=1, largest_k=4)


def test_the_draw_of_a_person_does_not_depend_on_other_persons(toy_corpus, toy_split, toy_episodes):
    again = draw_episodes(toy_corpus, toy_split, k=8, q=16, seeds=1)
    firsts = [episode for episode in toy_episodes.episodes if episode.seed == 0]
    assert list(again.episodes) == firsts


def test_seeds_give_different_draws(toy_episodes):
    first, second = toy_episodes.episodes[:2]
    assert first.person == second.person
    assert set(first.support.utterances) != set(second.support.utterances)


def test_the_file_round_trips(toy_episodes, toy_episodes_path):
    assert EpisodeFile.load(toy_episodes_path) == toy_episodes


def test_training_and_test_share_no_person_and_no_utterance(toy_corpus, toy_episodes):
    training = toy_episodes.training_tasks(toy_corpus)
    trained_on = {name for task in training for name in task.utterances}
    trained_by = {task.person for task in training}
    for episode in (*toy_episodes.episodes, *toy_episodes.validation_episodes):
        assert episode.person not in trained_by
        assert not trained_on & {*episode.support.utterances, *episode.query_utterances}


def test_on_the_speaker_axis_the_support_is_spoken_by_the_person(toy_corpus):
    split = SplitOptions(scenario="speaker", validation_persons=2)
    drawn = draw_episodes(toy_corpus, split, k=4, q=8, seeds=1)
    for episode in drawn.episodes:
        speakers = {toy_corpus.utterances[name].speaker for name in episode.support.utterances}
        assert speakers == {episode.person}


def test_persons_with_too_few_annotations_are_left_out_by_name(toy_corpus, toy_split):
    person = draw_episodes(toy_corpus, toy_split, k=8, q=16, seeds=1).episodes[0].person
    own = [annotation for annotation in toy_corpus.annotations if annotation.listener == person]
    fewer = [annotation for annotation in toy_corpus.annotations if annotation not in own[20:]]
    poorer = dataclasses.replace(toy_corpus, annotations=fewer)
    drawn = draw_episodes(poorer, toy_split, k=8, q=16, seeds=1)
    assert person in drawn.left_out
    assert person not in {episode.person for episode in drawn.episodes}


def test_the_error_for_a_k_that_is_too_large_says_how_many_annotations_there_are(toy_corpus, toy_split):
    with pytest.raises(UserError, match=r"K \+ Q = 500 \+ 16 is more than any .*the most is \d+"):
        draw_episodes(toy_corpus, toy_split, k=500, q=16, seeds=1)


def test_episodes_of_another_corpus_are_refused(toy_corpus, toy_episodes):
    other = dataclasses.replace(toy_episodes, corpus_fingerprint="another")
    with pytest.raises(UserError, match="another corpus"):
        other.training_tasks(toy_corpus)


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", "not json", '{"format": "perser-episodes-0"}'])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "episodes.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"is not an episodes file"):
        EpisodeFile.load(path)
    with pytest.raises(UserError, match="is not there"):
        EpisodeFile.load(tmp_path / "missing.json")


def test_aggregated_targets_are_the_mean_over_listeners():
    emotions = EmotionSet(("a", "b"))
    tasks = [
        Task("p", ("u1", "u2"), (("a",), ("a", "b"))),
        Task("r", ("u1",), (("b",),)),
    ]
    targets = aggregated_targets(tasks, emotions)
    np.testing.assert_allclose(targets["u1"], [0.5, 0.5])
    np.testing.assert_allclose(targets["u2"], [0.5, 0.5])


def test_aggregated_labels_have_a_mean_share_above_chance(toy_corpus):
    labels = aggregated_labels(toy_corpus)
    naive = {
        name: np.mean(
            [
                [(emotion in a.emotions) / len(a.emotions) for emotion in toy_corpus.emotions.names]
                for a in toy_corpus.annotations
                if a.utterance_id == name
            ],
            axis=0,
        )
        for name in list(labels)[:10]
    }
    for name, share in naive.items():
        expected = {name for name, s in zip(toy_corpus.emotions.names, share, strict=True) if s > 0.25}
        assert set(labels[name]) == expected


def test_the_listener_axis_keeps_each_listeners_own_labels(toy_corpus):
    tasks = tasks_of(toy_corpus, "listener")
    assert len(tasks) == 12
    given = {(a.listener, a.utterance_id): a.emotions for a in toy_corpus.annotations}
    for person, task in tasks.items():
        assert all(
            given[person, name] == emotions
            for name, emotions in zip(task.utterances, task.emotions, strict=True)
        )


def test_listeners_that_are_not_known_are_no_persons(toy_corpus):
    annotations = [
        dataclasses.replace(row, listener="unknown-3") if row.listener.endswith("3") else row
        for row in toy_corpus.annotations
    ]
    some = dataclasses.replace(toy_corpus, annotations=annotations)
    assert tasks_of(some, "listener").keys() == tasks_of(toy_corpus, "listener").keys() - {"sim-003"}
    nobody = dataclasses.replace(
        toy_corpus,
        annotations=[
            dataclasses.replace(row, listener=f"unknown-{row.listener[-2:]}")
            for row in toy_corpus.annotations
        ],
    )
    with pytest.raises(UserError, match="does not say who labeled what"):
        tasks_of(nobody, "listener")
    assert tasks_of(nobody, "speaker") == tasks_of(toy_corpus, "speaker")


def test_reordering_a_support_keeps_its_pairs(toy_episodes):
    support = toy_episodes.episodes[0].support
    reordered = support.ordered([2, 0, 1])
    assert reordered.utterances == tuple(support.utterances[index] for index in (2, 0, 1))
    assert dict(zip(reordered.utterances, reordered.emotions, strict=True)) == dict(
        zip(support.utterances[:3], support.emotions[:3], strict=True)
    )
    assert reordered.seed == support.seed
