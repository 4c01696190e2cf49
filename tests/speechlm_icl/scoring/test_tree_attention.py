"""Packed queries against batched queries, which language models can pack, and the prefix cache under both."""

import pytest
import torch
from torch.testing import assert_close
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, MistralConfig
from transformers import MistralForCausalLM as Mistral

from speechlm_icl.model.language_model import LanguageModel
from speechlm_icl.prompt.prompt import word_tokenizer
from speechlm_icl.scoring import scoring, tree_attention
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import PrefixCache, build_prefix_cache
from speechlm_icl.scoring.scoring import score_queries
from speechlm_icl.scoring.tree_attention import batched_hidden_states, can_pack, packed_hidden_states

TRIE = LabelTrie([(1,), (2, 3, 4), (2, 3, 5), (2, 6), (7, 1)])


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
def prefix_of(model: LanguageModel, length: int) -> PrefixCache:
    cache = model.new_cache()
    mask = torch.ones(1, length, dtype=torch.int64)
    model.hidden(model.embed(torch.arange(length)[None] % 10), mask, mask.cumsum(dim=1) - 1, cache)
    return PrefixCache(cache, length)


@pytest.mark.parametrize(("tf32", "packs"), [(False, False), (True, True)])
def test_rounding_in_tf32_does_not_forbid_packing(monkeypatch, tf32, packs):
    exact = packed_hidden_states

    def rounded(*arguments):
        hidden = exact(*arguments)
        return hidden * (1 + 0.003)

    monkeypatch.setattr(tree_attention, "packed_hidden_states", rounded)
    monkeypatch.setattr(tree_attention, "uses_tf32", lambda device: tf32)
    assert can_pack(mistral(None)) == packs


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("length", [1, 9])
@torch.inference_mode()
def test_packed_clips_of_different_lengths_do_not_affect_each_other(attention, length):
    model = mistral(None)
    model.model.set_attn_implementation(attention)
    prefix = prefix_of(model, length)
    frames = [torch.randn(count, 32) for count in (1, 4, 2)]
    together = packed_hidden_states(model, prefix, frames, TRIE)
    assert together.shape == (3, len(TRIE.nodes), 32)
    alone = [packed_hidden_states(model, prefix, [clip], TRIE) for clip in frames]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert_close(together, batched_hidden_states(model, prefix, frames, TRIE), atol=1e-5, rtol=1e-5)


def test_a_model_that_keeps_every_position_can_pack():
    assert can_pack(mistral(None))
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=10, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    assert can_pack(language_model(GPT2LMHeadModel(config)))  # learned positions, passed from outside


def test_sliding_windows_and_models_that_count_positions_themselves_cannot_pack():
    assert not can_pack(mistral(4))
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=10, hidden_size=32, n_layer=2, n_head=4)
    assert not can_pack(language_model(BloomForCausalLM(config)))


def test_the_attention_function_is_checked_at_every_call():
    model = mistral(None)
    assert can_pack(model)
    model.causal.config._attn_implementation = "flash_attention_2"  # accepts no tree mask
    assert not can_pack(model)
    model.causal.config._attn_implementation = "eager"
    assert can_pack(model)


@torch.inference_mode()
def test_batched_queries_respect_a_sliding_window():
    """Against full forward passes, after a prefix that is longer than the window."""
    model, length = mistral(4), 9
    prefix = prefix_of(model, length)
    frames = [torch.randn(count, 32) for count in (1, 3)]
    batched = batched_hidden_states(model, prefix, frames, TRIE)
    before = model.embed(torch.arange(length)[None] % 10)
    for clip, row in zip(frames, batched, strict=True):
        for node, hidden in zip(TRIE.nodes, row, strict=True):
            after = model.embed(torch.tensor([node], dtype=torch.int64))
            sequence = torch.cat([before, clip[None], after], dim=1)
            expected = model.causal.get_decoder()(inputs_embeds=sequence).last_hidden_state[0, -1]
            assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_packed_and_batched_scores_are_equal(build, store, monkeypatch):
    model = build(prompt={"label_words": {"happy": "very glad indeed", "sad": "very sad"}})
    features = store.stack([f"u{i}" for i in range(4)])
    prefix = build_prefix_cache(model, features, [[0], [2, 1], [1], [2]])
    packed = score_queries(model, prefix, features)
    monkeypatch.setattr(scoring, "can_pack", lambda language_model: False)
    assert_close(score_queries(model, prefix, features), packed, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_scoring_does_not_change_the_prefix_cache(build, store, monkeypatch, packed):
    monkeypatch.setattr(scoring, "can_pack", lambda language_model: packed)
    model = build()
    features = store.stack([f"u{i}" for i in range(4)])
    prefix = build_prefix_cache(model, features, [[0], [2, 1], [1], [2]])
    before = [(layer.keys.clone(), layer.values.clone()) for layer in prefix.key_values.layers]
    assert before[0][0].shape[-2] == prefix.length
    score_queries(model, prefix, features)
    for layer, (keys, values) in zip(prefix.key_values.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)


def test_a_view_shares_the_keys_of_the_prefix(build, store):
    model = build()
    prefix = build_prefix_cache(model, store.stack(["u0"]), [[0]])
    layers = zip(prefix.view().layers, prefix.key_values.layers, strict=True)
    assert all(view.keys.data_ptr() == cached.keys.data_ptr() for view, cached in layers)
