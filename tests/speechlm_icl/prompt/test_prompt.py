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


def prompt_format(**options) -> PromptFormat:
    wording = PromptOptions(**options)
    return PromptFormat(word_tokenizer(wording.texts(EMOTIONS)), EMOTIONS, wording)


def written(prompt_format: PromptFormat, prompt) -> list[str]:
    """The prompt as words, `<n>` where clip n goes."""
    tokenizer = word_tokenizer(prompt_format.options.texts(EMOTIONS))
    words = tokenizer.convert_ids_to_tokens(prompt.token_ids)
    return [word if clip == TEXT else f"<{clip}>" for word, clip in zip(words, prompt.clips, strict=True)]


def test_a_prompt_reads_as_instruction_then_clips_with_their_label_words():
    form = prompt_format(instruction="What is heard ?", label_words={"happy": "very glad"})
    prompt = form.encode([[2], [1, 0]])
    expected = "What is heard ? <0> sad \n <1> very glad and angry \n"
    assert written(form, prompt) == expected.split(" ")


def test_only_answers_are_targets():
    form = prompt_format(instruction="What is heard ?")
    prompt = form.encode([[2], [1, 0]])
    for token, clip, target, word in zip(
        prompt.token_ids, prompt.clips, prompt.targets, written(form, prompt), strict=True
    ):
        in_answer = clip == TEXT and word not in ("What", "is", "heard", "?")
        assert target == (token if in_answer else IGNORE)


def test_targets_can_begin_at_a_later_answer():
    form = prompt_format()
    every, last = form.encode([[2], [0]]), form.encode([[2], [0]], first_target=1)
    assert (last.token_ids, last.clips) == (every.token_ids, every.clips)
    assert last.targets == [IGNORE] * 3 + every.targets[3:]


def test_what_is_left_open_is_settled_by_the_tokenizer(chat_tokenizer):
    tokenizer = chat_tokenizer()
    open_, closed = PromptOptions(), PromptOptions(instruction="What", chat=False)
    assert closed.resolve(tokenizer, EMOTIONS) == closed
    assert open_.resolve(tokenizer, EMOTIONS) == PromptOptions(instruction="", chat=True)
    with pytest.raises(UserError, match=r"prompt.chat: true, but .* no chat template"):
        prompt_format(chat=True)


def test_the_default_instruction_names_the_emotions_by_their_words():
    """For a tokenizer that can write it; the small vocabularies of the other tests cannot."""
    labels = {"happy": "glad"}
    said = DEFAULT_INSTRUCTION.format(labels=["angry", "glad"], joiner=" and", listed="angry, glad, sad")
    tokenizer = word_tokenizer([said + "\n", *PromptOptions(label_words=labels).texts(EMOTIONS)])
    settled = PromptOptions(label_words=labels).resolve(tokenizer, EMOTIONS)
    assert settled.instruction == said + "\n"
    assert "'angry and glad'" in said


def test_one_pair_takes_three_positions():
    assert len(prompt_format().encode([[0]] * 33).token_ids) == 99


def test_batch_is_padded_to_the_right_and_numbers_clips_through():
    form = prompt_format()
    batch = collate([form.encode([[0]]), form.encode([[1, 2], [0]])])
    assert batch.attention_mask.sum(dim=1).tolist() == [3, 8]
    assert batch.clips[batch.clips != TEXT].tolist() == [0, 1, 2]
    assert batch.position_ids[1].tolist() == list(range(8))
    assert batch.position_ids[0, :3].tolist() == [0, 1, 2]
    padding = batch.attention_mask == 0
    assert (batch.targets[padding] == IGNORE).all()
    assert (batch.clips[padding] == TEXT).all()
    assert all(tensor.dtype == torch.int64 for tensor in vars(batch).values())


def test_labels_that_begin_one_another_are_refused():
    with pytest.raises(UserError, match=r"'glad' begin those of 'glad indeed'.*prompt.label_words"):
        prompt_format(label_words={"happy": "glad indeed", "sad": "glad"})
    with pytest.raises(UserError, match="begin those of"):
        prompt_format(label_words={"happy": "glad", "sad": "glad"})


def test_labels_that_share_only_their_first_word_are_fine():
    form = prompt_format(label_words={"happy": "very glad", "sad": "very sad"})
    assert [len(label) for label in form.labels] == [1, 2, 2]


def test_label_words_for_an_unknown_emotion_are_refused():
    with pytest.raises(UserError, match="unknown emotion 'bored'"):
        prompt_format(label_words={"bored": "bored"})


def test_a_label_that_the_tokenizer_cannot_write_is_refused():
    with pytest.raises(UserError, match="cannot write the label 'sad'"):
        PromptFormat(word_tokenizer(["angry happy and \n"]), EMOTIONS, PromptOptions())


def test_word_tokenizer_survives_saving(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = word_tokenizer(["very angry and\n"])
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("very angry\n", " and", "\n", ""):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.unk_token_id not in loaded("very angry\n")["input_ids"]
