"""`model(**inputs)` and `model.generate(**inputs)` on what the processor made."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perser.errors import UserError
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL

CLIPS = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (12_000, 5_000, 31_000)]
TEXTS = ["What does this person hear ? <|audio|> happy \n <|audio|>", "sad <|audio|> angry"]
OWN = [CLIPS[:2], CLIPS[2:]]
"""Each text's clips."""


@pytest.fixture
def processor(hearing) -> SpeechLMProcessor:
    return SpeechLMProcessor.of(hearing)


@pytest.fixture(params=["left", "right"])
def side(request) -> str:
    return request.param


@torch.no_grad()
def test_a_batch_gives_each_prompt_what_it_gets_alone(hearing, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    logits = hearing(**inputs).logits
    for row, (text, clips) in enumerate(zip(TEXTS, OWN, strict=True)):
        alone = hearing(**processor(text=text, audio=clips, return_tensors="pt")).logits[0]
        assert_close(logits[row][inputs.attention_mask[row].bool()], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_prompt_of_text_is_the_models_own_prompt(hearing, processor):
    """The same clips and answers by way of the processor and by way of `prompt` and features."""
    clips = CLIPS[:2]
    inputs = processor(
        text="What does this person hear ? <|audio|> happy \n <|audio|> sad \n",
        audio=clips,
        return_tensors="pt",
    )
    features = hearing.encode_clips(inputs.input_values, inputs.audio_mask)
    batch = hearing.batch([hearing.prompt.encode([[1], [2]])], features)
    hidden = hearing.language_model.hidden(
        hearing.embed(batch, features), batch.attention_mask, batch.position_ids
    )
    assert_close(hearing(**inputs).logits, hearing.language_model.logits(hidden), atol=1e-4, rtol=1e-4)


def test_loss_is_over_text_alone(hearing, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    outputs = hearing(**inputs, labels=inputs.input_ids)
    counted = (inputs.attention_mask == 1) & (inputs.input_ids != hearing.config.audio_token_id)
    losses = []
    for row in range(2):
        for at in range(1, inputs.input_ids.shape[1]):
            if counted[row, at] and inputs.attention_mask[row, at - 1]:
                token = inputs.input_ids[row, at][None]
                losses.append(F.cross_entropy(outputs.logits[row, at - 1][None], token))
    assert_close(outputs.loss, torch.stack(losses).mean())
    outputs.loss.backward()
    assert hearing.projector.layer_weights.grad.abs().sum() > 0
    hearing.zero_grad()


@torch.no_grad()
def greedy(model: SpeechLMForICL, inputs: dict, steps: int) -> list[int]:
    """Token by token, every step a forward pass over the whole prompt."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    written = []
    for _ in range(steps):
        logits = model(**(inputs | {"input_ids": ids, "attention_mask": mask})).logits[0, -1]
        written.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[written[-1]]])], dim=1)
        mask = torch.ones_like(ids)
    return written


def test_a_batch_of_answers_is_what_each_prompt_gets_alone(hearing, processor, side):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt", padding_side=side)
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "eos_token_id": 0}
    together = hearing.generate(**inputs, **options)
    width = inputs.input_ids.shape[1]
    for row, (text, clips) in enumerate(zip(TEXTS, OWN, strict=True)):
        one = processor(text=text, audio=clips, return_tensors="pt")
        alone = hearing.generate(**one, **options)
        assert torch.equal(alone[0, : one.input_ids.shape[1]], one.input_ids[0])
        assert torch.equal(together[row, width:], alone[0, one.input_ids.shape[1] :])


def test_greedy_answers_are_the_likeliest_tokens(hearing, processor):
    inputs = processor(text=TEXTS[0], audio=OWN[0], return_tensors="pt")
    answer = hearing.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=[10_000])
    assert answer[0, inputs.input_ids.shape[1] :].tolist() == greedy(hearing, dict(inputs), 4)


def test_several_sequences_and_repetition_penalties_keep_the_prompt(hearing, processor):
    inputs = processor(text=TEXTS, audio=CLIPS, return_tensors="pt")
    outputs = hearing.generate(
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


def test_the_answer_depends_on_what_is_heard(hearing, processor):
    one = processor(text=TEXTS[1], audio=CLIPS[:1], return_tensors="pt")
    other = processor(text=TEXTS[1], audio=[0.3 * CLIPS[0].cumsum(0).sin()], return_tensors="pt")
    with torch.no_grad():
        assert not torch.allclose(hearing(**one).logits, hearing(**other).logits)


def test_placeholders_that_were_not_expanded_are_refused(hearing, processor):
    inputs = processor(text=TEXTS[0], audio=OWN[0], return_tensors="pt")
    audio = (inputs.input_ids[0] == hearing.config.audio_token_id).nonzero()[0, 0]
    shorter = torch.cat([inputs.input_ids[:, :audio], inputs.input_ids[:, audio + 1 :]], dim=1)
    with pytest.raises(UserError, match="audio placeholders, but the 2 clips given take"):
        hearing(input_ids=shorter, input_values=inputs.input_values, audio_mask=inputs.audio_mask)
    with pytest.raises(UserError, match="audio placeholders, but the 0 clips given take 0"):
        hearing(input_ids=inputs.input_ids)


def test_an_empty_clip_is_refused(hearing, processor):
    inputs = processor(text=TEXTS[0], audio=OWN[0], return_tensors="pt")
    inputs["audio_mask"][1] = 0
    with pytest.raises(UserError, match="clip 1 is empty"):
        hearing(**inputs)


def test_an_answer_ends_where_the_language_models_or_the_prompts_answers_do(hearing, processor, monkeypatch):
    inputs = processor(text=TEXTS[0], audio=OWN[0], return_tensors="pt")
    causal, asked = hearing.language_model.causal, []
    monkeypatch.setattr(causal, "generate", lambda **options: asked.append(options) or options["input_ids"])
    own = hearing.prompt.template.end[-1] + 1
    for ends in (None, own, [own]):
        monkeypatch.setattr(causal.generation_config, "eos_token_id", ends)
        hearing.generate(**inputs)
    hearing.generate(**inputs, eos_token_id=7)
    assert [one["eos_token_id"] for one in asked] == [[own - 1], [own, own - 1], [own, own - 1], 7]
