"""`model(**inputs)` and `model.generate(**inputs)` on inputs from the processor."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perser.errors import UserError
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL

CLIPS = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (12_000, 5_000, 31_000)]
TEXTS = ["What does this person hear ? <|audio|> happy \n <|audio|>", "sad <|audio|> angry"]
CLIPS_OF_TEXT = [CLIPS[:2], CLIPS[2:]]
"""The clips of each text."""


@pytest.fixture
def processor(audio_model) -> SpeechLMProcessor:
    return SpeechLMProcessor.of(audio_model)


@pytest.fixture(params=["left", "right"])
def side(request) -> str:
    return request.param


@torch.no_grad()
def test_the_logits_of_a_prompt_do_not_depend_on_its_batch(audio_model, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    logits = audio_model(**inputs).logits
    for row, (text, clips) in enumerate(zip(TEXTS, CLIPS_OF_TEXT, strict=True)):
        alone = audio_model(**processor(text=text, audio=clips, return_tensors="pt")).logits[0]
        assert_close(logits[row][inputs.attention_mask[row].bool()], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_prompt_from_the_processor_equals_one_from_the_models_prompt_format(audio_model, processor):
    clips = CLIPS[:2]
    inputs = processor(
        text="What does this person hear ? <|audio|> happy \n <|audio|> sad \n",
        audio=clips,
        return_tensors="pt",
    )
    features = audio_model.encode_clips(inputs.input_values, inputs.audio_mask)
    batch = audio_model.batch([audio_model.prompt.encode([[1], [2]])], features)
    hidden = audio_model.language_model.hidden(
        audio_model.embed(batch, features), batch.attention_mask, batch.position_ids
    )
    assert_close(
        audio_model(**inputs).logits, audio_model.language_model.logits(hidden), atol=1e-4, rtol=1e-4
    )


def test_a_forward_pass_without_inputs_is_refused(audio_model):
    with pytest.raises(ValueError, match="give input_ids or inputs_embeds"):
        audio_model(attention_mask=torch.ones(1, 3))


def test_the_loss_counts_only_text(audio_model, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    outputs = audio_model(**inputs, labels=inputs.input_ids)
    counted = (inputs.attention_mask == 1) & (inputs.input_ids != audio_model.config.audio_token_id)
    losses = []
    for row in range(2):
        for position in range(1, inputs.input_ids.shape[1]):
            if counted[row, position] and inputs.attention_mask[row, position - 1]:
                token = inputs.input_ids[row, position][None]
                losses.append(F.cross_entropy(outputs.logits[row, position - 1][None], token))
    assert_close(outputs.loss, torch.stack(losses).mean())
    outputs.loss.backward()
    assert audio_model.projector.layer_weights.grad.abs().sum() > 0
    audio_model.zero_grad()


@torch.no_grad()
def greedy(model: SpeechLMForICL, inputs: dict, steps: int) -> list[int]:
    """Generate token by token, with a forward pass over the full prompt for each."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    tokens = []
    for _ in range(steps):
        logits = model(**(inputs | {"input_ids": ids, "attention_mask": mask})).logits[0, -1]
        tokens.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[tokens[-1]]])], dim=1)
        mask = torch.ones_like(ids)
    return tokens


def test_the_answer_to_a_prompt_does_not_depend_on_its_batch(audio_model, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "eos_token_id": 0}
    together = audio_model.generate(**inputs, **options)
    width = inputs.input_ids.shape[1]
    for row, (text, clips) in enumerate(zip(TEXTS, CLIPS_OF_TEXT, strict=True)):
        prompt = processor(text=text, audio=clips, return_tensors="pt")
        alone = audio_model.generate(**prompt, **options)
        assert torch.equal(alone[0, : prompt.input_ids.shape[1]], prompt.input_ids[0])
        assert torch.equal(together[row, width:], alone[0, prompt.input_ids.shape[1] :])


def test_greedy_answers_are_the_likeliest_tokens(audio_model, processor):
    inputs = processor(text=TEXTS[0], audio=CLIPS_OF_TEXT[0], return_tensors="pt")
    answer = audio_model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=[10_000])
    assert answer[0, inputs.input_ids.shape[1] :].tolist() == greedy(audio_model, dict(inputs), 4)


def test_beams_several_sequences_and_repetition_penalty_return_the_prompt_unchanged(audio_model, processor):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    outputs = audio_model.generate(
        **inputs,
        max_new_tokens=3,
        num_beams=2,
        num_return_sequences=2,
        repetition_penalty=1.2,
        return_dict_in_generate=True,
    )
    assert len(outputs.sequences) == 4
    width = inputs.input_ids.shape[1]
    assert torch.equal(outputs.sequences[:, :width], inputs.input_ids.repeat_interleave(2, dim=0))


def test_logits_depend_on_the_audio(audio_model, processor):
    noise = processor(text=TEXTS[1], audio=CLIPS[:1], return_tensors="pt")
    tones = processor(text=TEXTS[1], audio=[0.3 * CLIPS[0].cumsum(0).sin()], return_tensors="pt")
    with torch.no_grad():
        assert not torch.allclose(audio_model(**noise).logits, audio_model(**tones).logits)


def test_placeholders_that_are_not_expanded_are_refused(audio_model, processor):
    inputs = processor(text=TEXTS[0], audio=CLIPS_OF_TEXT[0], return_tensors="pt")
    audio = (inputs.input_ids[0] == audio_model.config.audio_token_id).nonzero()[0, 0]
    shorter = torch.cat([inputs.input_ids[:, :audio], inputs.input_ids[:, audio + 1 :]], dim=1)
    with pytest.raises(UserError, match="audio placeholders, but the 2 clips given take"):
        audio_model(input_ids=shorter, input_values=inputs.input_values, audio_mask=inputs.audio_mask)
    with pytest.raises(UserError, match="audio placeholders, but the 0 clips given take 0"):
        audio_model(input_ids=inputs.input_ids)


def test_an_empty_clip_is_refused(audio_model, processor):
    inputs = processor(text=TEXTS[0], audio=CLIPS_OF_TEXT[0], return_tensors="pt")
    inputs["audio_mask"][1] = 0
    with pytest.raises(UserError, match="cannot use clip 2: empty"):
        audio_model(**inputs)


def test_an_answer_ends_at_the_end_token_of_the_language_model_or_of_the_prompt(
    audio_model, processor, monkeypatch
):
    inputs = processor(text=TEXTS[0], audio=CLIPS_OF_TEXT[0], return_tensors="pt")
    causal, calls = audio_model.language_model.causal, []
    monkeypatch.setattr(causal, "generate", lambda **options: calls.append(options) or options["input_ids"])
    end = audio_model.prompt.template.end[-1]
    eos = end + 1
    for setting in (None, eos, [eos]):
        monkeypatch.setattr(causal.generation_config, "eos_token_id", setting)
        audio_model.generate(**inputs)
    audio_model.generate(**inputs, eos_token_id=7)
    assert [options["eos_token_id"] for options in calls] == [[end], [eos, end], [eos, end], 7]
