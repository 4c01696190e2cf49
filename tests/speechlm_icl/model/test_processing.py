"""The processor: text and recordings in, the model's inputs out."""

import numpy as np
import pytest
import soundfile
import torch

from perser.errors import UserError
from speechlm_icl.model.processing import SpeechLMProcessor

CLIPS = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (12_000, 5_000, 31_000)]
TEXTS = ["What does this person hear ? <|audio|> happy \n <|audio|>", "<|audio|> sad and angry"]


@pytest.fixture
def processor(audio_model) -> SpeechLMProcessor:
    return SpeechLMProcessor.of(audio_model)


def test_a_placeholder_takes_as_many_positions_as_its_clip_has_embeddings(processor, audio_model):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    audio = inputs.input_ids == audio_model.config.audio_token_id
    lengths = [
        len(clip)
        for clip in audio_model.projector(audio_model.encode_clips(inputs.input_values, inputs.audio_mask))
    ]
    assert [processor.num_tokens(len(clip)) for clip in CLIPS] == lengths
    assert audio.sum(dim=1).tolist() == [lengths[0] + lengths[1], lengths[2]]
    assert inputs.audio_mask.sum(dim=1).tolist() == [12_000, 5_000, 31_000]
    for row, text in zip(inputs.input_ids, TEXTS, strict=True):
        assert processor.decode(row, skip_special_tokens=True) == text.replace("<|audio|> ", "").replace(
            " <|audio|>", ""
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_model_takes_inputs_in_another_number_format(processor, audio_model, dtype):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    with torch.no_grad():
        expected = audio_model(**inputs).logits
        logits = audio_model(**inputs.to(dtype)).logits
        written = audio_model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert logits.dtype == expected.dtype
    torch.testing.assert_close(logits, expected, atol=0.05 * float(expected.abs().max()), rtol=0)
    assert written.shape == (2, inputs.input_ids.shape[1] + 2)


def test_a_compiled_model_gives_the_same_logits(processor, audio_model):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    with torch.no_grad():
        compiled = torch.compile(audio_model, backend="eager")(**inputs).logits
        torch.testing.assert_close(compiled, audio_model(**inputs).logits)


def test_padding_is_on_the_left_by_default(processor):
    assert processor(text=TEXTS, audio=CLIPS, return_tensors="pt").attention_mask[:, -1].all()
    right = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side="right")
    assert right.attention_mask[:, 0].all()
    assert not right.attention_mask[:, -1].all()


def test_recordings_may_be_arrays_tensors_lists_or_files(processor, tmp_path):
    clip = CLIPS[1].numpy()
    soundfile.write(tmp_path / "clip.wav", clip, 16_000, subtype="FLOAT")
    for audio in (clip, [clip], [torch.from_numpy(clip)], clip.tolist(), str(tmp_path / "clip.wav")):
        inputs = processor(text="<|audio|> sad", audio=audio, return_tensors="pt")
        np.testing.assert_allclose(inputs.input_values[0], clip, atol=1e-6)


def test_recordings_are_scaled_resampled_and_mixed(processor):
    clip = CLIPS[1].clamp(-1, 1).numpy()
    whole = np.round(clip * 32767).astype(np.int16)
    stereo = {"array": np.stack([whole, 0 * whole]), "sampling_rate": 16_000}
    for audio in (whole, torch.from_numpy(whole), stereo, (16_000, whole)):
        inputs = processor(text="<|audio|> sad", audio=audio, return_tensors="pt")
        np.testing.assert_allclose(inputs.input_values[0], clip, atol=1e-4)
    (slow,) = processor(text="<|audio|>", audio={"array": clip, "sampling_rate": 8_000}).input_values
    assert len(slow) == 2 * len(clip)


def test_a_prompt_may_have_no_audio(processor):
    assert "input_values" not in processor(text="sad", return_tensors="pt")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_different_numbers_of_clips_and_placeholders_are_refused(processor, count):
    with pytest.raises(UserError, match=rf"placeholders for 2 clips \(<\|audio\|>\), but {count} were given"):
        processor(text=TEXTS[0], audio=CLIPS[:count])


def test_an_unusable_clip_is_named_with_the_reason(processor, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    text = "<|audio|> <|audio|>"
    for wrong, message in (
        (np.zeros(0, dtype=np.float32), "cannot use clip 2: empty"),
        (np.full(3200, np.nan), "cannot use clip 2: not finite"),
        (np.zeros((2, 3200)), "cannot use clip 2: silent"),
        (np.zeros((2, 3, 800)), r"cannot use clip 2: samples of shape \(2, 3, 800\)"),
        (np.ones(100), r"cannot use clip 2: too short \(0.01 s\)"),
        (torch.full((3200,), 2e4), "cannot use clip 2: no sound between -1 and 1"),
        ({"array": CLIPS[0]}, "cannot use clip 2: samples without their rate"),
        ([np.zeros(800), np.zeros(900)], "cannot use clip 2: no recording"),
        ([np.zeros(800), np.zeros(800)], r"cannot use clip 2: lists of shape \(2, 800\): give an array"),
        (str(tmp_path / "broken.wav"), r"cannot use .*broken.wav: unreadable"),
        (tmp_path / "empty.wav", r"cannot use .*empty.wav: empty"),
        (tmp_path / "gone.wav", r"cannot use .*gone.wav: missing"),
    ):
        with pytest.raises(UserError, match=message):
            processor(text=text, audio=[CLIPS[0], wrong])


def test_another_sampling_rate_is_refused(processor):
    with pytest.raises(ValueError, match="sampling rate"):
        processor(text="<|audio|>", audio=CLIPS[:1], sampling_rate=8_000)


def test_a_saved_processor_gives_the_same_inputs(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = SpeechLMProcessor.from_pretrained(tmp_path)
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    again = loaded(text=TEXTS, audio=CLIPS, return_tensors="pt")
    assert set(inputs) == set(again)
    for name in inputs:
        assert torch.equal(inputs[name], again[name]), name


def test_a_single_recording_is_checked_and_may_require_gradients(processor):
    with pytest.raises(UserError, match="clip 1: silent"):
        processor(text="<|audio|>", audio={"array": 0 * CLIPS[0], "sampling_rate": 16_000})
    traced = CLIPS[0].clone().requires_grad_()
    inputs = processor(text="<|audio|>", audio=traced, return_tensors="pt")
    assert torch.equal(inputs.input_values[0], CLIPS[0])
