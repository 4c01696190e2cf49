"""Queries in one sequence against queries in rows of their own, and which models take which."""

import pytest
import torch
from torch.testing import assert_close
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig
from transformers import MistralForCausalLM as Mistral

from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.prompt import word_tokenizer
from speechlm_icl.scoring import scoring
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import Enrollment
from speechlm_icl.scoring.scoring import build_prefix_cache, score_queries
from speechlm_icl.scoring.tree_attention import can_pack, batched_hidden_states, packed_hidden_states

TREE = LabelTrie([(1,), (2, 3, 4), (2, 3, 5), (2, 6), (7, 1)])


def language_model(model) -> LanguageModel:
    return LanguageModel(model.eval(), word_tokenizer(["a b c d e f g h"]), "made here")


def mistral(window: int | None) -> LanguageModel:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=10,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
    )
    return language_model(Mistral(config))


@torch.inference_mode()
def enrolled(model: LanguageModel, length: int) -> PrefixCache:
    cache = model.new_cache()
    ones = torch.ones(1, length, dtype=torch.int64)
    model.hidden(model.embed(torch.arange(length)[None] % 10), ones, ones.cumsum(dim=1) - 1, cache)
    return PrefixCache(cache, length)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [1, 9])
@torch.inference_mode()
def test_clips_of_different_length_are_read_as_if_each_stood_alone(attention, length):
    model = mistral(None)
    model.model.set_attn_implementation(attention)
    enrollment = enrolled(model, length)
    frames = [torch.randn(count, 32) for count in (1, 4, 2)]
    together = packed_hidden_states(model, enrollment, frames, TREE)
    assert together.shape == (3, len(TREE.nodes), 32)
    alone = [packed_hidden_states(model, enrollment, [clip], TREE) for clip in frames]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert_close(together, batched_hidden_states(model, enrollment, frames, TREE), atol=1e-5, rtol=1e-5)


def test_a_model_that_keeps_every_position_is_packed():
    assert can_pack(mistral(None))
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=10, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    assert can_pack(language_model(GPT2LMHeadModel(config)))  # learned positions, given from outside


def test_a_sliding_model_and_one_that_counts_positions_itself_are_not():
    assert not can_pack(mistral(4))
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=10, hidden_size=32, n_layer=2, n_head=4)
    assert not can_pack(language_model(BloomForCausalLM(config)))


def test_another_attention_function_is_asked_anew():
    model = mistral(None)
    assert can_pack(model)
    model.causal.config._attn_implementation = "flash_attention_2"  # takes no mask of places
    assert not can_pack(model)
    model.causal.config._attn_implementation = "eager"
    assert can_pack(model)


@torch.inference_mode()
def test_where_attention_slides_the_window_is_kept():
    """Against whole forward passes, over an enrollment that is longer than the window."""
    model, length = mistral(4), 9
    enrollment = enrolled(model, length)
    frames = [torch.randn(count, 32) for count in (1, 3)]
    found = batched_hidden_states(model, enrollment, frames, TREE)
    before = model.embed(torch.arange(length)[None] % 10)
    for clip, row in zip(frames, found, strict=True):
        for stem, hidden in zip(TREE.nodes, row, strict=True):
            after = model.embed(torch.tensor([stem], dtype=torch.int64))
            whole = torch.cat([before, clip[None], after], dim=1)
            expected = model.causal.get_decoder()(inputs_embeds=whole).last_hidden_state[0, -1]
            assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_scores_are_the_same_either_way(build, store, monkeypatch):
    model = build(prompt={"label_words": {"happy": "very glad indeed", "sad": "very sad"}})
    features = store.stack([f"u{i}" for i in range(4)])
    enrollment = build_prefix_cache(model, features, [[0], [2, 1], [1], [2]])
    packed = score_queries(model, enrollment, features)
    monkeypatch.setattr(scoring, "can_pack", lambda language_model: False)
    assert_close(score_queries(model, enrollment, features), packed, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_the_enrollments_cache_is_unharmed(build, store, monkeypatch, packed):
    monkeypatch.setattr(scoring, "can_pack", lambda language_model: packed)
    model = build()
    features = store.stack([f"u{i}" for i in range(4)])
    enrollment = build_prefix_cache(model, features, [[0], [2, 1], [1], [2]])
    before = [(layer.keys.clone(), layer.values.clone()) for layer in enrollment.cache.layers]
    assert before[0][0].shape[-2] == enrollment.length
    score_queries(model, enrollment, features)
    for layer, (keys, values) in zip(enrollment.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)


def test_a_view_shares_the_keys_that_it_begins_with(build, store):
    model = build()
    enrollment = build_prefix_cache(model, store.stack(["u0"]), [[0]])
    view = enrollment.view()
    pairs = zip(view.layers, enrollment.cache.layers, strict=True)
    assert all(mine.keys.data_ptr() == theirs.keys.data_ptr() for mine, theirs in pairs)
