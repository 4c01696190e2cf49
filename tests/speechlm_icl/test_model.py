import json

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.model import SpeechLMForICL
from speechlm_icl.prompt import IGNORE, collate
from speechlm_icl.scoring import label_log_probabilities

ANSWERS = [[0], [1, 2], [2]]


def sequence(model, store):
    """One sequence of three clips: its prompts' batch and the features."""
    return collate([model.prompt.encode(ANSWERS)]), store.stack(["u0", "u1", "u2"])


def test_loss_is_that_of_the_whole_language_model_at_the_answers(model, store):
    batch, features = sequence(model, store)
    losses = model.losses(batch, features)
    logits = model.language_model.causal(
        inputs_embeds=model.embed(batch, features), attention_mask=batch.attention_mask
    ).logits
    expected = F.cross_entropy(logits[0, :-1], batch.targets[0, 1:], reduction="none", ignore_index=IGNORE)
    assert_close(losses[0, 1:], expected)
    assert losses[batch.targets == IGNORE].eq(0).all()


def test_a_label_is_predicted_without_seeing_itself_or_what_follows(model, store):
    """Changing the last clip and answer leaves the loss of all earlier answers as it was."""
    batch, features = sequence(model, store)
    other = collate([model.prompt.encode([*ANSWERS[:2], [0, 1]])])
    before = batch.token_ids.shape[1] - 3
    changed = torch.cat([features[:2], torch.randn(1, *features.shape[1:])])
    assert_close(model.losses(batch, features)[0, :before], model.losses(other, changed)[0, :before])


def test_padding_changes_nothing(model, store):
    batch, features = sequence(model, store)
    longer = model.prompt.encode([[0]] * 7)
    padded = collate([model.prompt.encode(ANSWERS), longer])
    more = torch.cat([features, store.stack([f"u{i}" for i in range(7)])])
    assert_close(
        model.losses(batch, features)[0], model.losses(padded, more)[0, : batch.token_ids.shape[1]], atol=1e-5, rtol=1e-5
    )


def test_a_batch_with_a_clip_too_few_is_refused(model, store):
    batch, features = sequence(model, store)
    with pytest.raises(ValueError, match="places for 3 clips, 2 were given"):
        model.losses(batch, features[:2])


def scores(model, store):
    return label_log_probabilities(
        model, store.stack(["u0", "u1"]), [[0], [1, 2]], store.stack(["u5", "u6", "u7"])
    )


def test_tiny_llama_is_saved_whole_and_comes_back_the_same(build, store, tmp_path):
    model = build(prompt={"instruction": "What is heard ?", "label_words": {"happy": "very glad"}})
    model.projector.fit_standardisation(store.stack([f"u{i}" for i in range(30)]))
    model.save_pretrained(tmp_path / "speech-lm")
    loaded = SpeechLMForICL.from_pretrained(tmp_path / "speech-lm")
    assert_close(scores(loaded, store), scores(model, store))
    assert not loaded.training
    assert loaded.config.encoder == "tiny-whisper"


def test_only_the_adapter_and_the_projector_of_a_frozen_model_are_trained_and_saved(
    build, store, tmp_path, llama_folder
):
    model = build(str(llama_folder))
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith("projector.") for name in trained)
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


def test_a_run_can_be_moved_with_its_encoder(build, tmp_path):
    encoder = tmp_path / "run" / "models" / "ssl-e" / "encoder"
    encoder.mkdir(parents=True)
    folder = tmp_path / "run" / "models" / "speech-lm"
    build(encoder=str(encoder)).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["encoder"] == "../ssl-e/encoder"

    moved = (tmp_path / "run").rename(tmp_path / "elsewhere") / "models"
    loaded = SpeechLMForICL.from_pretrained(moved / "speech-lm")
    assert loaded.config.encoder == str((moved / "ssl-e" / "encoder").resolve())


def test_an_encoder_elsewhere_is_named_by_its_full_path(build, tmp_path):
    encoder = tmp_path / "encoders" / "mine"
    encoder.mkdir(parents=True)
    folder = tmp_path / "runs" / "one" / "models" / "speech-lm"
    build(encoder=str(encoder)).save_pretrained(folder)
    assert SpeechLMForICL.from_pretrained(folder).config.encoder == str(encoder.resolve())


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(UserError, match="no speech-LM model"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not of format"):
        SpeechLMForICL.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        SpeechLMForICL.from_pretrained(tmp_path)


def test_nine_emotions_as_iemocap_has_them(build, store):
    emotions = EmotionSet(
        ("frustrated", "angry", "sad", "disgust", "excited", "fear", "neutral", "surprise", "happy")
    )
    assert scores(build(emotions=emotions), store).shape == (3, 9)
