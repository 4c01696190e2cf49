from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from meta_perser.baselines import entire_zero, head_few, linear_few, lora_few, prior_shift
from meta_perser.profile import load_profile, save_profile
from meta_perser.route import meta_perser
from perser.errors import UserError


@pytest.mark.parametrize("factory", [head_few, lora_few, meta_perser, prior_shift])
def test_a_profile_predicts_as_the_person_it_was_saved_for(factory, trained, toy_episodes, tmp_path):
    episode = toy_episodes.episodes[0]
    predictor = factory(trained).personalize(episode.support)
    save_profile(predictor, tmp_path / "anna.safetensors")
    fresh = factory(trained)  # as in another process, later
    loaded = load_profile(tmp_path / "anna.safetensors", fresh.model, fresh.source)
    expected = predictor.predict_proba(episode.query_utterances)
    np.testing.assert_array_equal(loaded.predict_proba(episode.query_utterances), expected)
    zero = entire_zero(trained).personalize(episode.support).predict_proba(episode.query_utterances)
    assert (expected != zero).any()


@pytest.mark.parametrize("factory", [head_few, prior_shift])
def test_a_profile_holds_only_what_moved(factory, trained, toy_episodes, tmp_path):
    method = factory(trained)
    predictor = method.personalize_many([one.support for one in toy_episodes.episodes])[0]
    save_profile(predictor, tmp_path / "new" / "anna.safetensors")
    whole = sum(file.stat().st_size for file in (trained.models / "ssl-e").rglob("*") if file.is_file())
    numbers = sum(one.numel() for one in predictor.weights.values()) + 4
    size = (tmp_path / "new" / "anna.safetensors").stat().st_size
    assert size < 4 * numbers + 2048 < whole / 20


def test_a_profile_of_another_model_or_scope_is_refused(trained, toy_episodes, tmp_path):
    path = tmp_path / "anna.safetensors"
    save_profile(head_few(trained).personalize(toy_episodes.episodes[0].support), path)
    for other in (linear_few(trained), lora_few(trained)):
        with pytest.raises(UserError, match=r"anna\.safetensors is of another model"):
            load_profile(path, other.model, other.source)
    changed = head_few(trained)
    with torch.no_grad():
        changed.model.state_scale[0, 0] += 1e-3
    with pytest.raises(UserError, match="of another model"):
        load_profile(path, changed.model, changed.source)


def test_what_is_no_profile_is_refused(trained, tmp_path):
    method = head_few(trained)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    (tmp_path / "text").write_text("no tensors")
    for path in (foreign, tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(UserError, match="is not a profile"):
            load_profile(path, method.model, method.source)
