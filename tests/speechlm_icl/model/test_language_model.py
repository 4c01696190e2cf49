import pytest
import torch
from huggingface_hub import HfApi
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from perser.errors import UserError
from speechlm_icl.model.language_model import (
    LanguageModel,
    LoraOptions,
    check_language_model,
    new_language_model,
)
from speechlm_icl.prompt.prompt import word_tokenizer


def test_tiny_llama_is_small_and_trained_in_full():
    model = new_language_model("tiny-llama", ["angry happy sad and \n"], LoraOptions())
    parameters = list(model.parameters())
    assert 0.5e6 < sum(parameter.numel() for parameter in parameters) < 2e6
    assert all(parameter.requires_grad for parameter in parameters)


def test_layers_are_found_with_and_without_an_adapter(llama_folder):
    """Sharded training wraps these layers. Frozen weights outside them would not be sharded."""
    for name in ("tiny-llama", str(llama_folder)):
        model = new_language_model(name, ["angry happy sad and \n"], LoraOptions())
        assert model.layers == list(model.causal.get_decoder().layers)
        assert model.layers


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no language model '.*nowhere'"):
        new_language_model(str(tmp_path / "nowhere"), [], LoraOptions())


def test_an_unreachable_hub_is_reported_by_the_check_before_training(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "model_info", unreachable)
    with pytest.raises(UserError, match=r"cannot reach the Hugging Face Hub.*'somebody/nothing'"):
        check_language_model("somebody/nothing", LoraOptions())


def test_adapter_targets_that_match_no_layer_are_named(llama_folder):
    with pytest.raises(UserError, match=r"lora.targets.*no_such_layer"):
        new_language_model(str(llama_folder), [], LoraOptions(targets=("no_such_layer",)))


def test_a_model_that_caps_its_logits_is_refused(tmp_path):
    tokenizer = word_tokenizer(["angry happy and \n"])
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=1.0,
        final_logit_softcapping=0.5,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="changes its logits"):
        new_language_model(str(tmp_path), [], LoraOptions())


@pytest.mark.parametrize("wrong", [{"r": 0}, {"alpha": 0}, {"targets": ()}])
def test_adapter_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="lora"):
        LoraOptions(**wrong)


def test_the_embedding_scale_is_that_of_the_layers_inputs():
    """Gemma 3 multiplies its embeddings by the square root of their width."""
    config = Gemma3TextConfig(
        vocab_size=20, hidden_size=64, intermediate_size=16, num_hidden_layers=1, head_dim=16
    )
    language_model = LanguageModel(Gemma3ForCausalLM(config), word_tokenizer(["a"]), "made here")
    embeddings = language_model.embed(torch.arange(20)[None])
    assert language_model.embedding_scale == pytest.approx(embeddings.square().mean().sqrt().item())
    weights = language_model.causal.get_input_embeddings().weight
    assert language_model.embedding_scale == pytest.approx(
        8 * weights.square().mean().sqrt().item(), rel=1e-3
    )
