"""Base models of every format, and the checks before one is loaded."""

import copy
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    MambaConfig,
    OpenAIGPTConfig,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3NextConfig,
    WhisperConfig,
)

from perser import errors
from perser.device import loading_on
from perser.errors import UserError
from speechlm_icl.model.base_model import check_base, context_length, load_base
from speechlm_icl.model.language_model import LoraOptions, load_language_model, new_language_model
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.prompt.prompt import word_tokenizer
from speechlm_icl.scoring.scoring import label_log_probabilities

TARGETS = ("q_proj", "v_proj")
needs_gguf = pytest.mark.skipif(not find_spec("gguf"), reason="needs the extra gguf")
needs_bitsandbytes = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs the extra quantized")


def check_single_line(error: pytest.ExceptionInfo) -> None:
    assert "\n" not in str(error.value)


def test_a_model_folder_passes_the_check(llama_folder):
    check_base(str(llama_folder), "float32", TARGETS)


def test_a_long_prompt_does_not_change_what_a_short_one_gets(tmp_path):
    """Position embeddings with a long context have other frequencies for long prompts."""
    tokenizer = word_tokenizer(["angry happy sad"])
    scaling = {"long_factor": [4.0] * 8, "short_factor": [1.0] * 8, "original_max_position_embeddings": 16}
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        initializer_range=0.3,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10_000.0, **scaling},
        pad_token_id=0,
    )
    torch.manual_seed(0)
    plain = Phi3ForCausalLM(config).eval()
    plain.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_base(str(tmp_path), "float32")
    short, long = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 3, 4] * 10])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.inference_mode():
        for prompt in (short, long, short):
            assert_close(model(prompt).logits, plain(prompt).logits)
            assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    again = copy.deepcopy(model)
    assert_close(again(long).logits, plain(long).logits)


def test_a_target_without_a_layer_is_named_even_if_another_target_matches(llama_folder):
    with pytest.raises(
        UserError, match=r"lora\.targets: .* no linear layer 'c_attn': it has .*q_proj"
    ) as error:
        check_base(str(llama_folder), "float32", ("q_proj", "c_attn"))
    check_single_line(error)


def test_a_folder_without_a_language_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a model folder: it has no config\.json"):
        check_base(str(tmp_path), "float32", TARGETS)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot load the language model") as error:
        check_base(str(tmp_path), "float32", TARGETS)
    check_single_line(error)
    WhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="of type 'whisper', not a causal language model"):
        check_base(str(tmp_path), "float32", TARGETS)


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1),
        Qwen3NextConfig(num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_with_recurrent_layers_is_refused(tmp_path, config):
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"recurrent layers \(model type '{config.model_type}'\)") as error:
        check_base(str(tmp_path), "float32", TARGETS)
    check_single_line(error)


def save_with_tokenizer(model, folder, llama_folder):
    model.save_pretrained(folder)
    for file in llama_folder.glob("tokenizer*"):
        shutil.copy(file, folder)


def test_a_model_that_takes_no_cache_is_refused_before_its_weights_are_loaded(tmp_path, llama_folder):
    config = OpenAIGPTConfig(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    save_with_tokenizer(AutoModelForCausalLM.from_config(config), tmp_path, llama_folder)
    with pytest.raises(UserError, match=r"'openai-gpt'\) does not read on from a key/value cache") as error:
        check_base(str(tmp_path), "float32", ("c_attn",))
    check_single_line(error)


def test_a_model_whose_answers_change_with_a_cache_is_refused_when_it_is_loaded(tmp_path, llama_folder):
    """BERT takes a cache, but each of its positions also reads those after it."""
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = AutoModelForCausalLM.from_config(BertConfig(vocab_size=300, **size))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_()
    save_with_tokenizer(model, tmp_path, llama_folder)
    with pytest.raises(UserError, match=r"'bert'\) does not read on from a key/value cache") as error:
        load_base(str(tmp_path), "float32")
    check_single_line(error)


def test_a_folder_without_weights_is_refused(tmp_path, llama_folder):
    (tmp_path / "config.json").write_bytes((llama_folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="it has no weights"):
        check_base(str(tmp_path), "float32", TARGETS)


def test_missing_weights_are_not_replaced_by_random_ones(tmp_path, llama_folder):
    shutil.copytree(llama_folder, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"lack 9 tensors, such as model\.layers\.2"):
        load_base(str(tmp_path / "model"), "float32")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path, llama_folder):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((llama_folder / name).read_bytes())
    with pytest.raises(UserError, match="cannot load the language model") as error:
        load_base(str(tmp_path), "float32")
    check_single_line(error)


def test_a_missing_library_is_named_with_its_extra(monkeypatch, llama_folder, tmp_path):
    monkeypatch.setattr(errors, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"bitsandbytes: pip install 'perser\[quantized\]'"):
        check_base(str(llama_folder), "4bit", TARGETS)
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UserError, match=r"gguf: pip install 'perser\[gguf\]'"):
        check_base(str(tmp_path / "model.gguf"), "float32", TARGETS)


def test_the_context_length_is_that_of_the_model(llama_folder):
    model, _ = load_base(str(llama_folder), "float32")
    assert context_length(model.config) == model.config.max_position_embeddings == 2048


def test_bfloat16_weights_stay_bfloat16_and_the_adapter_records_it(build, llama_folder, store, tmp_path):
    model = build(str(llama_folder), lora=LoraOptions(r=4, base_weights="bfloat16"))
    weights = model.language_model.causal.get_input_embeddings().weight
    assert weights.dtype == torch.bfloat16
    model.save_pretrained(tmp_path)
    loaded = SpeechLMForICL.from_pretrained(tmp_path)
    assert loaded.language_model.base_weights == "bfloat16"
    features = store.stack(["u0", "u1"])
    expected = label_log_probabilities(model, None, [], features)
    assert_close(label_log_probabilities(loaded, None, [], features), expected)


@needs_bitsandbytes
@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_an_adapter_on_quantized_weights_learns_and_can_be_saved_and_loaded(
    build, llama_folder, store, weights, tmp_path
):
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    model = build(str(llama_folder), lora=LoraOptions(r=4, base_weights=weights))
    kind = {"8bit": Linear8bitLt, "4bit": Linear4bit}[weights]
    assert any(isinstance(module, kind) for module in model.modules())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or name.startswith(("projector.", "binding.")) for name in trained)

    features = store.stack(["u0", "u1", "u2"])
    batch = model.batch([model.prompt.encode([[0], [1], [2]])], features)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=1e-2)
    losses = []
    for _ in range(6):
        loss = model.losses(batch, features).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

    model.save_pretrained(tmp_path)
    loaded = SpeechLMForICL.from_pretrained(tmp_path)
    assert loaded.language_model.base_weights == weights
    with torch.no_grad():
        assert_close(loaded.losses(batch, features), model.losses(batch, features), atol=1e-3, rtol=1e-3)


@needs_bitsandbytes
@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_loading_and_using_quantized_weights_prints_nothing(llama_folder, weights):
    code = f"""
import torch
from speechlm_icl.model.base_model import load_base
model, _ = load_base({str(llama_folder)!r}, {weights!r})
embeddings = model.get_input_embeddings()(torch.arange(4)[None]).requires_grad_()
model(inputs_embeds=embeddings).logits.sum().backward()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_bitsandbytes
@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_gradients_flow_through_quantized_weights_after_a_validation(build, llama_folder, store, weights):
    model = build(str(llama_folder), lora=LoraOptions(r=4, base_weights=weights), dropout=0, feature_noise=0)
    features = store.stack(["u0", "u1"])
    batch = model.batch([model.prompt.encode([[0], [1]])], features)

    def gradient() -> torch.Tensor:
        model.train().zero_grad()
        model.losses(batch, features).sum().backward()
        return model.projector.layer_weights.grad.clone()

    before = gradient()
    with torch.no_grad():
        model.eval().losses(batch, features)
    assert before.abs().max() > 0
    assert_close(gradient(), before)


@needs_bitsandbytes
@pytest.mark.parametrize(
    ("device", "device_map", "dtype"),
    [("cpu", {"": "cpu"}, torch.float32), ("cuda:1", "cuda:1", torch.bfloat16)],
)
def test_quantized_weights_are_loaded_on_the_device_where_they_are_used(
    llama_folder, monkeypatch, device, device_map, dtype
):
    asked = {}

    def from_pretrained(path, **options):
        asked.update(options)
        raise RuntimeError("seen")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    with loading_on(device), pytest.raises(UserError, match="seen"):
        load_base(str(llama_folder), "4bit")
    assert asked["device_map"] == device_map
    assert asked["quantization_config"].bnb_4bit_compute_dtype == dtype


@needs_gguf
def test_a_gguf_file_gives_the_same_logits_and_can_be_saved(byte_llama, gguf_file, tmp_path):
    name = str(gguf_file)
    check_base(name, "float32", TARGETS)
    model, tokenizer = load_base(name, "float32")
    expected = AutoModelForCausalLM.from_pretrained(byte_llama)
    tokens = torch.arange(2, 30)[None]
    with torch.no_grad():
        assert_close(model(tokens).logits, expected(tokens).logits, atol=1e-4, rtol=1e-4)
    assert context_length(model.config) == 128
    assert tokenizer.bos_token_id == 0
    assert tokenizer("an", add_special_tokens=False)["input_ids"]

    model.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    language_model = new_language_model(name, [], LoraOptions(r=2))
    language_model.save(tmp_path / "trained")
    assert load_language_model(tmp_path / "trained", name, "float32").has_adapter


@needs_gguf
def test_missing_and_broken_gguf_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no language model '.*none\.gguf': the file does not exist"):
        check_base(str(tmp_path / "none.gguf"), "float32", TARGETS)
    (tmp_path / "broken.gguf").write_bytes(b"not a model")
    with pytest.raises(UserError, match="cannot load the language model") as error:
        check_base(str(tmp_path / "broken.gguf"), "float32", TARGETS)
    check_single_line(error)
    if find_spec("bitsandbytes"):
        with pytest.raises(UserError):
            check_base(str(tmp_path / "broken.gguf"), "4bit", TARGETS)
