"""Oracles answer with the truth about simulated listeners, and only where there is one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measuring.cells import Case
from benchmarks.measuring.measure import write_scores
from benchmarks.oracles import OracleContext, check_simulated, is_oracle, oracle_context
from perser.corpora.corpus import Corpus
from perser.corpora.listeners.listener import response_distribution
from perser.corpora.listeners.truth import TRUTH, load_truth
from perser.corpora.readers.cremad import CREMAD
from perser.corpora.readers.simulated import SIMULATED
from perser.episodes.draw import draw_episodes
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.splits import SplitOptions
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.personalizer import RouteContext


@pytest.fixture
def context(toy_corpus: Corpus, toy_episodes: EpisodeFile) -> OracleContext:
    plain = RouteContext(toy_corpus.emotions, toy_corpus.recordings, Path(), Path())
    return oracle_context(plain, toy_corpus, toy_episodes.episodes)


def log_loss(method: str, context: RouteContext, corpus: Corpus, episodes: EpisodeFile) -> float:
    losses = []
    personalizer = build_method(method, context)
    for episode in episodes.episodes:
        answers = personalizer.personalize(episode.support).predict_proba(episode.query_utterances)
        labels = corpus.emotions.distribution(episode.query_emotions)
        losses.append(-(labels * np.log(answers)).sum(axis=1).mean())
    return float(np.mean(losses))


def test_the_oracle_gives_the_true_probabilities_of_the_listener(context, toy_corpus, toy_episodes):
    truth = load_truth(toy_corpus.folder, 4)
    for episode in toy_episodes.episodes:
        predictor = build_method("oracle", context).personalize(episode.support)
        answers = predictor.predict_proba(episode.query_utterances)
        shares = truth.shares_of(episode.query_utterances)
        expected = response_distribution(truth.listeners[episode.person], shares)
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, expected, rtol=1e-5)


def test_knowing_more_has_a_lower_log_loss(context, toy_corpus, toy_episodes):
    everything, bias, nothing = (
        log_loss(method, context, toy_corpus, toy_episodes) for method in ("oracle", "oracle-bias", "nothing")
    )
    assert everything < bias < nothing - 0.1


def test_the_oracle_of_the_bias_knows_nothing_else(context, toy_episodes):
    """If the person's other traits change, its answer stays; if the bias does, its answer changes."""
    episode = toy_episodes.episodes[0]
    before = build_method("oracle-bias", context).personalize(episode.support).predict_proba(("s0-sad-0",))
    own = context.truth.listeners[episode.person]
    for change, stays in (
        ({"sharpness": 3.0, "breadth": 0.0}, True),
        ({"bias": (2.0, 0.0, 0.0, 0.0)}, False),
    ):
        listeners = dict(context.truth.listeners) | {own.name: replace(own, **change)}
        changed = replace(context, truth=replace(context.truth, listeners=listeners))
        after = build_method("oracle-bias", changed).personalize(episode.support).predict_proba(("s0-sad-0",))
        assert np.allclose(before, after) == stays


def test_the_harness_measures_them(toy_corpus, toy_episodes_path, tmp_path):
    methods = ("nothing", "oracle", "oracle-bias")
    case = Case(toy_corpus.folder, toy_episodes_path, tmp_path / "models", tmp_path / "cache", methods)
    write_scores(case, tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    knows = {row["method"]: row["adapts"].get("knows") for row in scores["methods"]}
    assert knows == {"nothing": None, "oracle": "everything", "oracle-bias": "the bias"}
    assert {row["route"] for row in scores["methods"]} == {"trivial"}


def test_other_methods_never_get_the_truth(toy_corpus, toy_episodes_path, tmp_path):
    case = Case(toy_corpus.folder, toy_episodes_path, tmp_path, tmp_path, ("nothing", "oracle"))
    assert not hasattr(case.context(), "truth")
    assert [is_oracle(method) for method in case.methods] == [False, True]


def test_a_corpus_without_truth_is_refused_before_anything_is_measured(
    toy_corpus, toy_episodes_path, tmp_path
):
    folder = tmp_path / "corpus"
    shutil.copytree(toy_corpus.folder, folder)
    (folder / TRUTH).unlink()
    (folder / "checksums.json").unlink()
    audio = Path(toy_corpus.card["audio_root"])
    assert audio.is_absolute() or (folder / audio).exists()
    case = Case(folder, toy_episodes_path, tmp_path, tmp_path, ("nothing", "oracle"))
    with pytest.raises(UserError, match=r"oracles know simulated listeners only, .* leave the methods"):
        write_scores(case, tmp_path / "scores.json")
    assert not (tmp_path / "predictions").exists()


def test_speakers_have_no_oracle(toy_corpus, tmp_path):
    split = SplitOptions(scenario="speaker", folds=4, validation_persons=1)
    draw_episodes(toy_corpus, split, k=2, q=4, seeds=1).save(tmp_path / "episodes.json")
    case = Case(toy_corpus.folder, tmp_path / "episodes.json", tmp_path, tmp_path, ("oracle",))
    with pytest.raises(UserError, match="is not a simulated listener"):
        write_scores(case, tmp_path / "scores.json")


def test_an_experiment_without_simulated_listeners_is_refused_before_it_starts():
    check_simulated(SIMULATED, {}, "unseen")
    check_simulated(CREMAD, {"listeners": "simulated:8"}, "seen")
    with pytest.raises(UserError, match=r"give prepare\.listeners: simulated:N"):
        check_simulated(CREMAD, {}, "unseen")
    with pytest.raises(UserError, match="not speakers"):
        check_simulated(SIMULATED, {}, "speaker")


def test_an_oracle_outside_the_harness_says_where_it_works(toy_corpus):
    context = RouteContext(toy_corpus.emotions, toy_corpus.recordings, Path(), Path())
    with pytest.raises(UserError, match="measure it with `perser bench`"):
        build_method("oracle", context)
    with pytest.raises(UserError, match="reads the whole support"):
        build_method("oracle-8", context)
