import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from perser.errors import UserError
from speechlm_icl.model.language_model import (
    LanguageModel,
    LoraOptions,
    check_language_model,
    new_language_model,
)
from speechlm_icl.prompt.prompt import word_tokenizer


def test_tiny_llama_is_small_trained_in_full_and_offline():
    model = new_language_model("tiny-llama", ["angry happy sad and \n"], LoraOptions())
    parameters = list(model.parameters())
    assert 0.5e6 < sum(one.numel() for one in parameters) < 2e6
    assert all(one.requires_grad for one in parameters)


def test_its_layers_are_known_with_an_adapter_and_without(llama_folder):
    """What lies in shares a layer at a time; without them nothing frozen would."""
    for name in ("tiny-llama", str(llama_folder)):
        model = new_language_model(name, ["angry happy sad and \n"], LoraOptions())
        assert model.layers == list(model.causal.get_decoder().layers)
        assert model.layers


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no language model '.*nowhere'"):
        new_language_model(str(tmp_path / "nowhere"), [], LoraOptions())


def test_without_the_hub_and_without_a_local_copy_the_check_says_so(monkeypatch):
    """Before a run's hours of work, not after."""

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(UserError, match=r"cannot reach the Hugging Face Hub.*'somebody/nothing'"):
        check_language_model("somebody/nothing", LoraOptions())


def test_adapter_targets_that_the_model_does_not_have_are_named(llama_folder):
    with pytest.raises(UserError, match=r"lora.targets.*no_such_layer"):
        new_language_model(str(llama_folder), [], LoraOptions(targets=("no_such_layer",)))


def test_a_model_that_caps_its_logits_is_refused_rather_than_scored_wrongly(tmp_path):
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


def test_the_embeddings_scale_is_that_of_what_the_layers_are_given():
    """Gemma 3 multiplies its weights by the root of their width."""
    config = Gemma3TextConfig(
        vocab_size=20, hidden_size=64, intermediate_size=16, num_hidden_layers=1, head_dim=16
    )
    language_model = LanguageModel(Gemma3ForCausalLM(config), word_tokenizer(["a"]), "made here")
    given = language_model.embed(torch.arange(20)[None])
    assert language_model.embedding_scale == pytest.approx(given.square().mean().sqrt().item())
    weights = language_model.causal.get_input_embeddings().weight
    assert language_model.embedding_scale == pytest.approx(
        8 * weights.square().mean().sqrt().item(), rel=1e-3
    )
