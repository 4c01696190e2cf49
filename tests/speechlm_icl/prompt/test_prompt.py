import pytest
import torch

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.prompt import (
    DEFAULT_INSTRUCTION,
    IGNORE,
    TEXT,
    PromptFormat,
    PromptOptions,
    collate,
    word_tokenizer,
)

EMOTIONS = EmotionSet(("angry", "happy", "sad"))


def prompt_format(**fields) -> PromptFormat:
    options = PromptOptions(**fields)
    return PromptFormat(word_tokenizer(options.texts(EMOTIONS)), EMOTIONS, options)


def as_words(prompt_format: PromptFormat, prompt) -> list[str]:
    """Return the prompt as words, with `<n>` for clip n."""
    tokenizer = word_tokenizer(prompt_format.options.texts(EMOTIONS))
    words = tokenizer.convert_ids_to_tokens(prompt.token_ids)
    return [word if clip == TEXT else f"<{clip}>" for word, clip in zip(words, prompt.clips, strict=True)]


def test_a_prompt_is_the_instruction_then_clips_with_their_label_words():
    prompts = prompt_format(instruction="What is heard ?", label_words={"happy": "very glad"})
    prompt = prompts.encode([[2], [1, 0]])
    expected = "What is heard ? <0> sad \n <1> very glad and angry \n"
    assert as_words(prompts, prompt) == expected.split(" ")


def test_only_answers_are_targets():
    prompts = prompt_format(instruction="What is heard ?")
    prompt = prompts.encode([[2], [1, 0]])
    for token, clip, target, word in zip(
        prompt.token_ids, prompt.clips, prompt.targets, as_words(prompts, prompt), strict=True
    ):
        in_answer = clip == TEXT and word not in ("What", "is", "heard", "?")
        assert target == (token if in_answer else IGNORE)


def test_targets_can_start_at_a_later_answer():
    prompts = prompt_format()
    every, last = prompts.encode([[2], [0]]), prompts.encode([[2], [0]], first_target=1)
    assert (last.token_ids, last.clips) == (every.token_ids, every.clips)
    assert last.targets == [IGNORE] * 3 + every.targets[3:]


def test_automatic_options_are_resolved_by_the_tokenizer(chat_tokenizer):
    tokenizer = chat_tokenizer()
    fixed = PromptOptions(instruction="What", chat=False)
    assert fixed.resolve(tokenizer, EMOTIONS) == fixed
    assert PromptOptions().resolve(tokenizer, EMOTIONS) == PromptOptions(instruction="", chat=True)
    with pytest.raises(UserError, match=r"prompt.chat: true, but .* no chat template"):
        prompt_format(chat=True)


def test_the_default_instruction_lists_the_label_words():
    """With a tokenizer that has all of its words; those of the other tests do not."""
    labels = {"happy": "glad"}
    instruction = DEFAULT_INSTRUCTION.format(
        labels=["angry", "glad"], joiner=" and", listed="angry, glad, sad"
    )
    tokenizer = word_tokenizer([instruction + "\n", *PromptOptions(label_words=labels).texts(EMOTIONS)])
    resolved = PromptOptions(label_words=labels).resolve(tokenizer, EMOTIONS)
    assert resolved.instruction == instruction + "\n"
    assert "'angry and glad'" in instruction


def test_a_pair_takes_three_positions():
    assert len(prompt_format().encode([[0]] * 33).token_ids) == 99


def test_a_batch_is_padded_on_the_right_and_numbers_clips_prompt_by_prompt():
    prompts = prompt_format()
    batch = collate([prompts.encode([[0]]), prompts.encode([[1, 2], [0]])])
    assert batch.attention_mask.sum(dim=1).tolist() == [3, 8]
    assert batch.clips[batch.clips != TEXT].tolist() == [0, 1, 2]
    assert batch.position_ids[1].tolist() == list(range(8))
    assert batch.position_ids[0, :3].tolist() == [0, 1, 2]
    padding = batch.attention_mask == 0
    assert (batch.targets[padding] == IGNORE).all()
    assert (batch.clips[padding] == TEXT).all()
    assert all(tensor.dtype == torch.int64 for tensor in vars(batch).values())


def test_a_label_that_is_a_prefix_of_another_is_refused():
    with pytest.raises(UserError, match=r"'glad' are a prefix of those of 'glad indeed'.*prompt.label_words"):
        prompt_format(label_words={"happy": "glad indeed", "sad": "glad"})
    with pytest.raises(UserError, match="are a prefix of those of"):
        prompt_format(label_words={"happy": "glad", "sad": "glad"})


def test_labels_that_share_only_their_first_word_are_accepted():
    prompts = prompt_format(label_words={"happy": "very glad", "sad": "very sad"})
    assert [len(label) for label in prompts.labels] == [1, 2, 2]


def test_label_words_for_an_unknown_emotion_are_refused():
    with pytest.raises(UserError, match="unknown emotion 'bored'"):
        prompt_format(label_words={"bored": "bored"})


def test_a_label_that_the_tokenizer_cannot_encode_is_refused():
    with pytest.raises(UserError, match="cannot encode the label 'sad'"):
        PromptFormat(word_tokenizer(["angry happy and \n"]), EMOTIONS, PromptOptions())


def test_a_saved_word_tokenizer_gives_the_same_tokens(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = word_tokenizer(["very angry and\n"])
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("very angry\n", " and", "\n", ""):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.unk_token_id not in loaded("very angry\n")["input_ids"]
