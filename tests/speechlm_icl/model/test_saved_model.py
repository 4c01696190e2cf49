import json
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

import speechlm_icl.auto  # noqa: F401
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError
from speechlm_icl.model.base_model import check_base
from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.scoring.scoring import label_log_probabilities


def scores(model, store):
    return label_log_probabilities(
        model, store.stack(["u0", "u1"]), [[0], [1, 2]], store.stack(["u5", "u6", "u7"])
    )


def test_a_saved_tiny_llama_gives_the_same_scores(build, store, tmp_path):
    model = build(prompt={"instruction": "What is heard ?", "label_words": {"happy": "very glad"}})
    model.projector.fit_standardization(store.stack([f"u{i}" for i in range(30)]))
    model.save_pretrained(tmp_path / "speech-lm")
    loaded = SpeechLMForICL.from_pretrained(tmp_path / "speech-lm")
    assert_close(scores(loaded, store), scores(model, store))
    assert not loaded.training
    assert loaded.config.encoder == "tiny-whisper"


def test_a_model_whose_config_names_no_adapter_can_be_loaded_again(tmp_path):
    model = SpeechLMForICL(SpeechLMConfig(emotions=["angry", "happy", "sad"], feature_shape=[3, 8]))
    assert model.config.lora is None
    model.save_pretrained(tmp_path)
    loaded = SpeechLMForICL.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert_close(loaded.state_dict()[name], weight, atol=0, rtol=0)


def test_only_adapter_and_projector_of_a_frozen_model_are_trained_and_saved(
    build, store, tmp_path, llama_folder
):
    model = build(str(llama_folder))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith(("projector.", "binding.")) for name in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()

    model.save_pretrained(tmp_path / "speech-lm")
    written = {file.name for file in (tmp_path / "speech-lm").rglob("*") if file.is_file()}
    assert {"adapter_config.json", "adapter_model.safetensors", "projector.safetensors"} <= written
    assert "model.safetensors" not in written
    loaded = SpeechLMForICL.from_pretrained(tmp_path / "speech-lm")
    assert_close(scores(loaded, store), scores(model, store))
    plain = build(str(llama_folder))
    assert not torch.allclose(scores(plain, store), scores(model, store))


def test_a_run_folder_can_be_moved_with_the_encoder_in_it(build, tmp_path):
    encoder = tmp_path / "run" / "models" / "ssl-e" / "encoder"
    encoder.mkdir(parents=True)
    folder = tmp_path / "run" / "models" / "speech-lm"
    build(encoder=str(encoder)).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["encoder"] == "../ssl-e/encoder"

    moved = (tmp_path / "run").rename(tmp_path / "elsewhere") / "models"
    loaded = SpeechLMForICL.from_pretrained(moved / "speech-lm")
    assert loaded.config.encoder == str((moved / "ssl-e" / "encoder").resolve())


def test_an_encoder_outside_the_run_is_named_by_its_full_path(build, tmp_path):
    encoder = tmp_path / "encoders" / "mine"
    encoder.mkdir(parents=True)
    folder = tmp_path / "runs" / "a" / "models" / "speech-lm"
    build(encoder=str(encoder)).save_pretrained(folder)
    assert SpeechLMForICL.from_pretrained(folder).config.encoder == str(encoder.resolve())


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="no speech-LM model"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not of format"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        SpeechLMForICL.from_pretrained(tmp_path)


def test_a_checkpoint_names_its_base_models_with_their_revisions(build, tmp_path, llama_folder):
    build(str(llama_folder)).save_pretrained(tmp_path / "speech-lm")
    config = json.loads((tmp_path / "speech-lm" / "config.json").read_text())
    assert (tmp_path / "speech-lm" / config["language_model"]).resolve() == llama_folder
    assert config["language_model_revision"].startswith("sha256:")
    assert config["architectures"] == ["SpeechLMForICL"]
    saved = load_file(tmp_path / "speech-lm" / "projector.safetensors")
    assert {"layer_weights", "mean", "std"} <= set(saved)


def test_a_changed_language_model_is_refused(build, tmp_path, llama_folder):
    base = shutil.copytree(llama_folder, tmp_path / "base")
    build(str(base)).save_pretrained(tmp_path / "models" / "speech-lm")
    (base / "README.md").write_text("not part of the model")
    SpeechLMForICL.from_pretrained(tmp_path / "models" / "speech-lm")
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(
        UserError, match=r"language model '.*base' is not the one that this model was trained"
    ):
        SpeechLMForICL.from_pretrained(tmp_path / "models" / "speech-lm")


def test_a_changed_encoder_is_refused(build, tmp_path):
    folder = tmp_path / "encoder"
    SpeechEncoder.from_name("tiny-whisper", seed=0).save_pretrained(folder)
    model = build(encoder=str(folder), feature_shape=(4, 64))
    model.save_pretrained(tmp_path / "models" / "speech-lm")
    loaded = SpeechLMForICL.from_pretrained(tmp_path / "models" / "speech-lm")
    assert loaded.speech_encoder.name == str(folder)
    SpeechEncoder.from_name("tiny-whisper", seed=1).save_pretrained(folder)
    with pytest.raises(UserError, match=r"speech encoder '.*' is not the one"):
        _ = SpeechLMForICL.from_pretrained(tmp_path / "models" / "speech-lm").speech_encoder


def test_the_encoder_follows_the_model_to_its_device(build):
    model = build(encoder="tiny-whisper", feature_shape=(4, 64))
    encoder = model.speech_encoder
    assert encoder.model.device.type == "cpu"
    model.to("meta")
    assert model.speech_encoder is encoder
    assert encoder.model.device.type == "meta"
    assert not any(name.startswith("speech_encoder") for name, _ in model.named_modules())


def test_an_encoder_of_another_size_is_refused(build):
    with pytest.raises(UserError, match=r"gives features of shape \(4, 64\), this model reads \(3, 5\)"):
        _ = build().speech_encoder


def test_an_encoder_folder_without_an_encoder_is_named(build, tmp_path):
    model = build(encoder=str(tmp_path))
    with pytest.raises(UserError, match=r"is not a model folder: it has no config\.json"):
        _ = model.speech_encoder


def test_a_missing_base_model_is_named(build, tmp_path, llama_folder):
    base = shutil.copytree(llama_folder, tmp_path / "base")
    build(str(base)).save_pretrained(tmp_path / "models" / "speech-lm")
    shutil.rmtree(base)
    with pytest.raises(UserError, match=r"no language model '.*base'"):
        SpeechLMForICL.from_pretrained(tmp_path / "models" / "speech-lm")


@pytest.mark.parametrize("file", ["projector.safetensors", "language_model/model.safetensors"])
def test_a_damaged_or_missing_file_is_named(build, tmp_path, file):
    build().save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(b"half of it")
    with pytest.raises(UserError, match=f"{file} is damaged, it is not what was saved"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"damaged .*: train it again"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=r"damaged .*: train it again|has no weights"):
        SpeechLMForICL.from_pretrained(tmp_path)


def test_a_name_that_does_not_exist_is_named():
    for name in ("somebody/nothing", "no folder"):
        with pytest.raises(UserError, match=f"no speech-LM model '{name}'"):
            SpeechLMForICL.from_pretrained(name)


def test_an_unsupported_loading_option_is_refused(build, tmp_path):
    build().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="takes no max_memory"):
        SpeechLMForICL.from_pretrained(tmp_path, max_memory={0: "1GB"})


def test_weights_can_be_loaded_in_another_number_format(build, tmp_path):
    build().save_pretrained(tmp_path)
    loaded = SpeechLMForICL.from_pretrained(tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("options", [{"device_map": "auto"}, {"torch_dtype": "float32"}, {"dtype": "auto"}])
def test_it_is_loaded_with_the_options_of_transformers(build, store, tmp_path, monkeypatch, options):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model = build()
    model.save_pretrained(tmp_path)
    for load in (SpeechLMForICL.from_pretrained, AutoModelForCausalLM.from_pretrained):
        loaded = load(tmp_path, low_cpu_mem_usage=True, **options)
        assert_close(scores(loaded, store), scores(model, store))


WITHOUT_FLASH = pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attention is installed")


@pytest.mark.parametrize("attention", [pytest.param("flash_attention_2", marks=WITHOUT_FLASH), "nonsense"])
def test_an_attention_function_that_cannot_be_used_is_not_called_damage(build, tmp_path, attention):
    build().save_pretrained(tmp_path)
    message = f"^attn_implementation: '{attention}' cannot be used here .*give sdpa or eager$"
    for load in (SpeechLMForICL.from_pretrained, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(UserError, match=message):
            load(tmp_path, attn_implementation=attention)


@WITHOUT_FLASH
def test_an_attention_function_that_cannot_be_used_is_found_before_weights_are_read(build, tmp_path):
    build().save_pretrained(tmp_path)
    (tmp_path / "checksums.json").unlink()
    (tmp_path / "projector.safetensors").write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"^attn_implementation: .*: install flash-attn, or give sdpa"):
        SpeechLMForICL.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


@WITHOUT_FLASH
@pytest.mark.parametrize("kind", ["encoder", "language model"])
def test_the_error_for_a_base_model_that_asks_for_flash_attention_says_what_to_do(
    kind, tmp_path, llama_folder
):
    if kind == "encoder":
        SpeechEncoder.from_name("tiny-whisper").save_pretrained(tmp_path / "base")
    else:
        shutil.copytree(llama_folder, tmp_path / "base")
    file = tmp_path / "base" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attn_implementation": "flash_attention_2"}))
    advice = "install flash-attn, or take attn_implementation out of the model's config.json"
    load = (
        SpeechEncoder.from_name if kind == "encoder" else partial(check_base, weights="float32", targets=())
    )
    with pytest.raises(UserError, match=f"^cannot load the {kind} .*: {advice}$"):
        load(str(tmp_path / "base"))


def test_a_missing_package_is_not_called_damage(build, tmp_path, llama_folder, monkeypatch):
    build(str(llama_folder)).save_pretrained(tmp_path / "speech-lm")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"^cannot read the speech-LM model .*: install peft"):
        SpeechLMForICL.from_pretrained(tmp_path / "speech-lm")


def test_loading_an_adapter_warns_of_nothing(build, tmp_path, llama_folder):
    build(str(llama_folder)).save_pretrained(tmp_path / "speech-lm")
    code = (
        "import sys; from speechlm_icl.model.speech_lm import SpeechLMForICL;"
        "SpeechLMForICL.from_pretrained(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "speech-lm")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in result.stderr


@pytest.mark.parametrize("name", ["tiny-llama", "adapter"])
def test_the_attention_function_can_be_chosen(build, store, tmp_path, llama_folder, name):
    model = build(name if name == "tiny-llama" else str(llama_folder))
    model.save_pretrained(tmp_path)
    for load in (SpeechLMForICL.from_pretrained, AutoModelForCausalLM.from_pretrained):
        loaded = load(tmp_path, attn_implementation="eager")
        assert loaded.language_model.causal.config._attn_implementation == "eager"
        assert_close(scores(loaded, store), scores(model, store))
        assert load(tmp_path).language_model.causal.config._attn_implementation == "sdpa"
    assert "attn" not in (tmp_path / "config.json").read_text()


def test_a_model_pushed_to_the_hub_gives_the_same_scores(build, store, hub_folder):
    model = build()
    model.push_to_hub("somebody/speech-lm")
    assert (hub_folder / "somebody" / "speech-lm" / "README.md").is_file()
    assert (hub_folder / "somebody" / "speech-lm" / "language_model" / "model.safetensors").is_file()
    loaded = SpeechLMForICL.from_pretrained("somebody/speech-lm")
    assert_close(scores(loaded, store), scores(model, store))


def test_saving_follows_the_options_of_transformers(build, tmp_path, hub_folder):
    model = build()
    model.save_pretrained(tmp_path / "mine", is_main_process=False)
    zeros = {name: 0 * value for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"^state_dict: it holds other weights than the model"):
        model.save_pretrained(tmp_path / "mine", state_dict=zeros)
    assert not (tmp_path / "mine").exists()
    model.save_pretrained(
        tmp_path / "mine", state_dict=model.state_dict(), push_to_hub=True, repo_id="somebody/speech-lm"
    )
    assert (tmp_path / "mine" / "projector.safetensors").is_file()
    assert (hub_folder / "somebody" / "speech-lm" / "projector.safetensors").is_file()
