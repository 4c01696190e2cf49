"""A step is chosen on the validation episodes that choose everything else, as the method answers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from perser.episodes.draw import draw_episode
from perser.errors import UserError
from perser.training.accelerator import start_accelerator
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.training.meta_training import meta_train
from speechlm_icl.training.on_episodes import choosing_episodes, validate_on_episodes
from speechlm_icl.training.options import IclOptions
from speechlm_icl.training.validation import ValidationSet


@pytest.fixture
def episodes(tasks):
    """Two episodes of each of three persons."""
    return [draw_episode(task, k=8, q=20, seed=seed) for task in tasks[9:] for seed in (0, 1)]


@pytest.mark.parametrize("pairs", [0, 4, 12])
def test_the_log_loss_is_that_of_the_method_s_answers(build, store, episodes, pairs):
    model = build()
    method = SpeechLMPersonalizer(model, store, min(pairs, 8))
    losses = [
        log_loss(
            model.prompt.emotions.multi_hot(episode.query_emotions).argmax(axis=1),
            method.personalize(episode.support).predict_proba(episode.query_utterances).astype(np.float64),
            labels=range(3),
        )
        for episode in episodes
    ]
    found = validate_on_episodes(model, episodes, pairs, store)["episodes_log_loss"]
    assert found == pytest.approx(np.mean(losses), abs=1e-5)


def test_every_episode_without_new_emotions_chooses(tasks, episodes):
    chosen = choosing_episodes(episodes, tasks[:9])
    assert chosen == episodes
    assert choosing_episodes([replace(each, words=("blick", "dax")) for each in episodes], tasks) == []
    without = [tasks[0]]  # who never says the third emotion; of the validation persons only the last does
    assert [each.person for each in choosing_episodes(episodes, without)] == ["p9", "p9", "p10", "p10"]


def test_the_score_is_the_log_loss_of_the_episodes(build, tasks, store, episodes):
    model, options = build(), IclOptions(pairs=6, validation_sequences=2)
    for chosen in (episodes, []):
        values, score = ValidationSet.draw(model, tasks[9:], options, chosen).measure(model, store, None)
        assert score == -values["episodes_log_loss" if chosen else "loss"]


def test_the_best_step_by_the_episodes_is_kept(build, tasks, store, episodes):
    options = IclOptions(
        pairs=6, steps=6, batch_size=4, validate_every=1, projector_steps=0, learning_rate=0.05
    )
    model = build()
    history = meta_train(model, tasks[:9], tasks[9:], store, options, start_accelerator(0), episodes=episodes)
    chosen = choosing_episodes(episodes, tasks[:9])
    kept = validate_on_episodes(model, chosen, 6, store)["episodes_log_loss"]
    assert kept == pytest.approx(min(each["episodes_log_loss"] for each in history), abs=1e-5)


def test_the_step_can_be_chosen_by_macro_f1(build, tasks, store, episodes):
    options = IclOptions(
        pairs=6,
        steps=6,
        batch_size=4,
        validate_every=1,
        projector_steps=0,
        learning_rate=0.05,
        selection="maF1",
    )
    model = build()
    history = meta_train(model, tasks[:9], tasks[9:], store, options, start_accelerator(0), episodes=episodes)
    chosen = choosing_episodes(episodes, tasks[:9])
    kept = validate_on_episodes(model, chosen, 6, store)["episodes_maF1"]
    assert kept == pytest.approx(max(each["episodes_maF1"] for each in history), abs=1e-5)


def test_macro_f1_without_anything_to_measure_it_on_is_refused(build, tasks, store):
    options = IclOptions(pairs=6, steps=1, projector_steps=0, selection="maF1")
    with pytest.raises(UserError, match="selection: maF1 needs validation episodes"):
        meta_train(build(), tasks[:9], tasks[9:], store, options, start_accelerator(0))
    with pytest.raises(ValueError, match="own words"):
        IclOptions(permute_labels=1.0, selection="maF1")
    with pytest.raises(ValueError, match="selection: accuracy, give one of log_loss, maF1"):
        IclOptions(selection="accuracy")
