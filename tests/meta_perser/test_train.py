from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from meta_perser.baselines import (
    entire_few,
    entire_sim,
    entire_zero,
    head_few,
    linear_few,
    lora_few,
    meta_perser,
    multi_few,
    prior_shift,
)
from meta_perser.options import InnerOptions, OuterOptions
from meta_perser.pretrain import pretrain
from meta_perser.recognizer.model import saved_settings
from meta_perser.train import meta_train
from perser.episodes.draw import draw_episodes
from perser.errors import UserError
from perser.installed_routes import build_method
from perser.labels import EmotionSet
from perser.selection.validation import all_scores

FACTORIES = {
    "entire-zero": entire_zero,
    "entire-few": entire_few,
    "entire-sim": entire_sim,
    "head-few": head_few,
    "linear-few": linear_few,
    "lora-few": lora_few,
    "multi-few": multi_few,
    "prior-shift": prior_shift,
    "meta-perser": meta_perser,
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_method_gives_probabilities(name, trained, toy_episodes):
    method = FACTORIES[name](trained)
    episode = toy_episodes.episodes[0]
    probabilities = method.personalize(episode.support).predict_proba(episode.query_utterances)
    assert probabilities.shape == (16, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert type(build_method(name, trained)) is type(method)


def test_ssl_e_recognizes_better_than_chance(trained, toy_episodes, toy_corpus):
    scores = all_scores(entire_zero(trained), toy_episodes.episodes, toy_corpus.emotions)
    score = np.mean([one["balanced_accuracy"] for one in scores])
    assert score > 0.6


def test_personalizing_moves_toward_the_person(trained, toy_episodes):
    """On the support itself, adapted weights must fit better than unadapted ones."""
    support = toy_episodes.episodes[0].support
    targets = trained.emotions.distribution(support.emotions)

    def surprise(method):
        probabilities = method.personalize(support).predict_proba(support.utterances)
        return -(targets * np.log(probabilities)).sum(axis=1).mean()

    zero = surprise(entire_zero(trained))
    for name in ("entire-few", "head-few", "lora-few", "prior-shift", "meta-perser"):
        assert surprise(FACTORIES[name](trained)) < zero, name


def test_one_person_leaves_no_trace_on_the_next(trained, toy_episodes):
    first, second = toy_episodes.episodes[0], toy_episodes.episodes[-1]
    for name, factory in FACTORIES.items():
        method = factory(trained)
        alone = method.personalize(second.support).predict_proba(second.query_utterances)
        fresh = factory(trained)
        fresh.personalize(first.support).predict_proba(first.query_utterances)
        after = fresh.personalize(second.support).predict_proba(second.query_utterances)
        np.testing.assert_array_equal(alone, after, err_msg=name)


def test_a_number_on_a_method_that_reads_everything_is_refused(trained):
    with pytest.raises(UserError, match="leave the number out"):
        build_method("entire-few-8", trained)
    with pytest.raises(UserError, match="unknown method 'entire-many'"):
        build_method("entire-many", trained)


@pytest.mark.parametrize(
    ("name", "target"), [("linear-few", "linear"), ("multi-few", "multi"), ("entire-sim", "ssl-e")]
)
def test_a_model_that_is_not_there_is_named_with_its_command(name, target, trained, tmp_path):
    nowhere = dataclasses.replace(trained, models=tmp_path)
    with pytest.raises(UserError, match=rf"`perser pretrain --target {target} --out \S+/{target}`"):
        build_method(name, nowhere)


def test_lora_few_says_that_its_rate_was_not_chosen(trained, tmp_path):
    shutil.copytree(trained.models / "ssl-e", tmp_path / "ssl-e")
    config = tmp_path / "ssl-e" / "meta_perser.json"
    content = json.loads(config.read_text())
    del content["extra"]["fine_tune"]["lora"]
    config.write_text(json.dumps(content))
    (tmp_path / "ssl-e" / "checksums.json").unlink()
    with pytest.raises(UserError, match="--lora lora"):
        build_method("lora-few", dataclasses.replace(trained, models=tmp_path))


def test_a_model_of_another_split_or_other_emotions_is_refused(trained, toy_episodes):
    elsewhere = dataclasses.replace(trained, trained_on="another split")
    reordered = dataclasses.replace(trained, emotions=EmotionSet(trained.emotions.names[::-1]))
    here = dataclasses.replace(trained, trained_on=toy_episodes.training_digest)
    for factory in FACTORIES.values():
        factory(here)
        with pytest.raises(UserError, match="another split"):
            factory(elsewhere)
        with pytest.raises(UserError, match="train one on this corpus"):
            factory(reordered)


@pytest.mark.parametrize(("method", "folder"), [("meta-perser", "meta-perser"), ("entire-zero", "ssl-e")])
def test_a_model_without_a_record_of_its_training_is_refused_in_a_line(
    method, folder, trained, toy_episodes, tmp_path
):
    shutil.copytree(trained.models / folder, tmp_path / folder)
    config = tmp_path / folder / "meta_perser.json"
    content = json.loads(config.read_text())
    content["extra"].pop("trained_on")
    config.write_text(json.dumps(content))
    for name in ("checksums.json", "trained_on.json"):
        (tmp_path / folder / name).unlink(missing_ok=True)
    here = dataclasses.replace(trained, models=tmp_path, trained_on=toy_episodes.training_digest)
    with pytest.raises(UserError, match=r"has no trained_on\.json that says which recordings it has met"):
        build_method(method, here)


def test_ssl_e_of_another_split_is_no_start(trained, toy_corpus, toy_split, tmp_path):
    other = draw_episodes(toy_corpus, dataclasses.replace(toy_split, fold=1), k=8, q=16, seeds=1)
    other.save(tmp_path / "episodes.json")
    with pytest.raises(UserError, match="another split"):
        meta_train(
            corpus=toy_corpus.folder,
            episodes=tmp_path / "episodes.json",
            ssl_e=trained.models / "ssl-e",
            out=tmp_path / "out",
        )


def test_a_foreign_output_folder_is_refused_before_training(toy_corpus, toy_episodes_path, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds no meta_perser\.json"):
        pretrain(corpus=toy_corpus.folder, episodes=toy_episodes_path, out=tmp_path)


def test_what_a_user_asks_is_written_beside_the_weights(trained):
    extra = saved_settings(trained.models / "meta-perser")
    assert extra["inner_steps"] == 3
    assert extra["adaptation_steps"] == 6
    assert 0 <= extra["iteration"] <= 20


@pytest.mark.parametrize("scope", ["head", "top_layers:1", "lora:2"])
def test_the_same_seed_trains_the_same_model(scope, trained, begun_from, tmp_path):
    weights = []
    for name in ("first", "second"):
        meta_train(
            **begun_from,
            out=tmp_path / name,
            scope=scope,
            inner=InnerOptions(steps=2, support=8, adaptation_steps=2),
            outer=OuterOptions(steps=3, batch_size=2, validate_every=3),
        )
        files = ("recogniser.safetensors", "rates.safetensors", "encoder/model.safetensors")
        weights.append([(tmp_path / name / file).read_bytes() for file in files])
    assert weights[0] == weights[1]
    (tmp_path / "first").rename(tmp_path / "meta-perser")
    method = meta_perser(dataclasses.replace(trained, models=tmp_path))
    described = method.describe()
    assert ("start chosen because" in described) == (described["iteration"] == "start")
    described.pop("start chosen because", None)
    assert described.pop("iteration") in ("start", 3)
    assert re.fullmatch(
        r"start \d\.\d+ \(iteration 0\), best .*, last \d\.\d+ \(iteration 3\)",
        described.pop("validation log loss"),
    )
    assert described.pop("validation maF1").startswith("start 0.")
    assert described == {
        "scope": scope,
        "steps": 2,
        "rate": "learned",
        "S": 2,
        "INI": "on",
        "CSMT": "on",
        "DA": "1 of 2 inner steps first order",
        "LSLR": "tensor",
    }
