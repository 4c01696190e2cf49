"""How questions are put to a model: in the form of its training, several at once, options by probability."""

import pytest
import torch

from benchmarks.dynamic_superb.answering import SpeechLMAnswerer
from benchmarks.dynamic_superb.answers import Asked
from benchmarks.dynamic_superb.instance import Question, read_instance
from perser.errors import UserError
from speechlm_icl.model.speech_lm import SpeechLMForICL

WORDS = ("angry", "sad", "happy")


@pytest.fixture(scope="module")
def model(model_folder) -> SpeechLMForICL:
    model = SpeechLMForICL.from_pretrained(model_folder)
    with torch.no_grad():  # so that what is heard matters
        model.projector.requires_grad_(False)
        for parameter in model.language_model.parameters():
            parameter.mul_(4)
    return model


def questions(count: int = 4, options: tuple[str, ...] = WORDS) -> list[Asked]:
    generator = torch.Generator().manual_seed(0)
    lengths = [5_000, 16_000, 9_000, 12_000]
    return [
        Asked(
            Question(f"f{number}", f"Which {'emotion ' * number}?", "sad", options),
            [0.3 * torch.randn(lengths[number - one], generator=generator) for one in range(1 + number % 2)],
        )
        for number in range(count)
    ]


def test_answers_do_not_depend_on_who_is_asked_beside(model):
    answerer = SpeechLMAnswerer(model, max_new_tokens=5)
    together = answerer(questions())
    assert together == [answerer([one])[0] for one in questions()]
    assert len(set(together)) > 1


def test_the_prompt_is_that_of_training_with_another_instruction(model):
    """One clip and the model's own instruction give the very tokens that training wrote."""
    own = model.prompt.options.instruction.rstrip("\n")
    answerer = SpeechLMAnswerer(model)
    asked = Asked(Question("f", own, "sad", WORDS), [torch.randn(8_000)])
    written = answerer._prompt(asked, "sad")
    trained = model.prompt.encode([[model.prompt.emotions.index("sad")]])
    start = len(model.prompt.template.start)
    assert written.token_ids[-len(trained.token_ids) + start :] == trained.token_ids[start:]
    assert written.targets[-3:] == trained.targets[-3:]


def test_a_chat_template_stands_around_instruction_and_recordings(chat_model_folder):
    model = SpeechLMForICL.from_pretrained(chat_model_folder)
    answerer = SpeechLMAnswerer(model, max_new_tokens=3)
    asked = Asked(Question("f", "Which emotion ?", "sad", WORDS), [torch.randn(8_000), torch.randn(5_000)])
    prompt = answerer._prompt(asked)
    tokens = ["<clip>" if clip == 0 else "<other>" if clip == 1 else None for clip in prompt.clips]
    written = model.language_model.tokenizer.convert_ids_to_tokens(prompt.token_ids)
    told = [token or word for token, word in zip(tokens, written, strict=True) if (token or word) != "\n"]
    assert " ".join(told) == (
        "<s> <turn> system Which emotion ? <end> <turn> user <clip> <other> <end> <turn> assistant"
    )
    assert len(answerer([asked, asked])) == 2
    assert SpeechLMAnswerer(model, mode="score")([asked])[0] in WORDS


def test_the_likeliest_option_is_that_of_the_models_own_loss(model):
    """Against `forward` with labels: one option at a time, by text."""
    answerer = SpeechLMAnswerer(model, mode="score")
    for one in questions(3):
        losses = []
        for option in WORDS:
            text = f"{one.question.instruction}\n{'<|audio|>' * len(one.clips)} {option}\n"
            inputs = answerer.processor(text=text, audio=one.clips, return_tensors="pt")
            labels = inputs.input_ids.clone()
            labels[:, :-2] = -100
            losses.append(model(**inputs, labels=labels).loss.item())
        assert answerer([one]) == [WORDS[losses.index(min(losses))]]


def test_options_that_the_tokenizer_cannot_write_are_not_scored(model):
    with pytest.raises(UserError, match="cannot write the option 'maybe'"):
        SpeechLMAnswerer(model, mode="score")(questions(1, ("sad", "maybe")))


def test_a_prompt_beyond_the_context_is_refused(model, emotion):
    instance = read_instance(emotion, limit=1)
    asked = [Asked(instance.questions[0], instance.clips(0))]
    context = model.language_model.context
    with pytest.raises(UserError, match=rf"s?0.*take \d+ positions, but .* context has {context}"):
        SpeechLMAnswerer(model, max_new_tokens=context)(asked)
