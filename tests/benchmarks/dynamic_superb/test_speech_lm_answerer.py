"""A model is asked in the form that it was trained with, several items at once, with options scored."""

import pytest
import torch

from benchmarks.dynamic_superb.ask import ItemWithClips
from benchmarks.dynamic_superb.instance import Item, read_instance
from benchmarks.dynamic_superb.speech_lm_answerer import SpeechLMAnswerer
from perser.errors import UserError
from speechlm_icl.model.speech_lm import SpeechLMForICL

WORDS = ("angry", "sad", "happy")


@pytest.fixture(scope="module")
def model(model_folder) -> SpeechLMForICL:
    model = SpeechLMForICL.from_pretrained(model_folder)
    with torch.no_grad():  # so that the answers depend on the clips
        model.projector.requires_grad_(False)
        for parameter in model.language_model.parameters():
            parameter.mul_(4)
    return model


def items_with_clips(count: int = 4, options: tuple[str, ...] = WORDS) -> list[ItemWithClips]:
    generator = torch.Generator().manual_seed(0)
    lengths = [5_000, 16_000, 9_000, 12_000]
    return [
        ItemWithClips(
            Item(f"f{number}", f"Which {'emotion ' * number}?", "sad", options),
            [
                0.3 * torch.randn(lengths[number - clip], generator=generator)
                for clip in range(1 + number % 2)
            ],
        )
        for number in range(count)
    ]


def test_answers_do_not_depend_on_the_batch(model):
    answerer = SpeechLMAnswerer(model, max_new_tokens=5)
    together = answerer(items_with_clips())
    assert together == [answerer([item])[0] for item in items_with_clips()]
    assert len(set(together)) > 1


def test_the_prompt_is_the_training_prompt_with_another_instruction(model):
    """With one clip and the model's own instruction, it has the same tokens as in training."""
    own = model.prompt.options.instruction.rstrip("\n")
    answerer = SpeechLMAnswerer(model)
    item = ItemWithClips(Item("f", own, "sad", WORDS), [torch.randn(8_000)])
    written = answerer._prompt(item, "sad")
    trained = model.prompt.encode([[model.prompt.emotions.index("sad")]])
    start = len(model.prompt.template.start)
    assert written.token_ids[-len(trained.token_ids) + start :] == trained.token_ids[start:]
    assert written.targets[-3:] == trained.targets[-3:]


def test_a_chat_template_encloses_instruction_and_recordings(chat_model_folder):
    model = SpeechLMForICL.from_pretrained(chat_model_folder)
    answerer = SpeechLMAnswerer(model, max_new_tokens=3)
    item = ItemWithClips(Item("f", "Which emotion ?", "sad", WORDS), [torch.randn(8_000), torch.randn(5_000)])
    prompt = answerer._prompt(item)
    tokens = ["<clip>" if clip == 0 else "<other>" if clip == 1 else None for clip in prompt.clips]
    written = model.language_model.tokenizer.convert_ids_to_tokens(prompt.token_ids)
    shown = [token or word for token, word in zip(tokens, written, strict=True) if (token or word) != "\n"]
    assert " ".join(shown) == (
        "<s> <turn> system Which emotion ? <end> <turn> user <clip> <other> <end> <turn> assistant"
    )
    assert len(answerer([item, item])) == 2
    assert SpeechLMAnswerer(model, mode="score")([item])[0] in WORDS


def test_the_likeliest_option_has_the_lowest_loss(model):
    """Compared with `forward` on one option at a time, given as text."""
    answerer = SpeechLMAnswerer(model, mode="score")
    for item in items_with_clips(3):
        losses = []
        for option in WORDS:
            text = f"{item.item.instruction}\n{'<|audio|>' * len(item.clips)} {option}\n"
            inputs = answerer.processor(text=text, audio=item.clips, return_tensors="pt")
            labels = inputs.input_ids.clone()
            labels[:, :-2] = -100
            losses.append(model(**inputs, labels=labels).loss.item())
        assert answerer([item]) == [WORDS[losses.index(min(losses))]]


def test_options_that_the_tokenizer_cannot_write_are_not_scored(model):
    with pytest.raises(UserError, match="cannot write the option 'maybe'"):
        SpeechLMAnswerer(model, mode="score")(items_with_clips(1, ("sad", "maybe")))


def test_a_prompt_beyond_the_context_is_refused(model, emotion):
    instance = read_instance(emotion, limit=1)
    items = [ItemWithClips(instance.items[0], instance.clips(0))]
    context = model.language_model.context
    with pytest.raises(UserError, match=rf"s?0.*take \d+ positions, but .* context has {context}"):
        SpeechLMAnswerer(model, max_new_tokens=context)(items)
