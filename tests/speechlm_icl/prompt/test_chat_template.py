import pytest
import torch
from torch.testing import assert_close

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.chat_template import from_chat_template, plain_template
from speechlm_icl.prompt.prompt import IGNORE, TEXT, PromptFormat, PromptOptions
from speechlm_icl.scoring.scoring import label_log_probabilities

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}{% endfor %}"
)
SYSTEM_OMITTED = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}{% endif %}{% endfor %}"
)
LAST_DIFFERS = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + "
    "('very ' if loop.last else '') + message['content'] + '<end>\n' }}{% endfor %}"
)
NUMBERED = (
    "{% for message in messages %}{{ '<turn>' * loop.index + message['content'] + '<end>' }}{% endfor %}"
)


def as_text(tokenizer, prompt) -> str:
    """Return the prompt's tokens, with `(n)` for clip n."""
    words = tokenizer.convert_ids_to_tokens(prompt.token_ids)
    pairs = zip(words, prompt.clips, strict=True)
    return " ".join(word if clip == TEXT else f"({clip})" for word, clip in pairs)


def test_a_chat_prompt_is_the_template_around_clips_and_answers(chat_tokenizer):
    tokenizer = chat_tokenizer()
    prompts = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?"))
    prompt = prompts.encode([[2], [1, 0]])
    assert as_text(tokenizer, prompt) == (
        "<s> <turn> system \n What is heard ? <end> \n <turn> user \n (0) <end> \n <turn> assistant \n sad "
        "<end> \n <turn> user \n (1) <end> \n <turn> assistant \n happy and angry <end> \n <turn> user \n"
    )
    targets = [tokenizer.convert_ids_to_tokens(target) for target in prompt.targets if target != IGNORE]
    assert targets == ["sad", "<end>", "happy", "and", "angry", "<end>"]


def test_a_chat_prompt_equals_the_chat_template_applied_to_messages(chat_tokenizer):
    """With words in place of clips. Only the first start token and the opening of the next message differ."""
    tokenizer = chat_tokenizer()
    prompts = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?"))
    prompt = prompts.encode([[2], [1]])
    very = tokenizer.convert_tokens_to_ids("very")
    positions = zip(prompt.token_ids, prompt.clips, strict=True)
    ids = [very if clip != TEXT else token for token, clip in positions]
    contents = [("system", "What is heard ?"), ("user", "very"), ("assistant", " sad")]
    contents += [("user", "very"), ("assistant", " happy")]
    messages = [{"role": role, "content": content} for role, content in contents]
    expected = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]
    assert ids[1 : len(expected) + 1] == expected
    assert tokenizer.decode(ids[len(expected) + 1 :]).split() == ["<turn>", "user"]


@pytest.mark.parametrize("template", [NO_SYSTEM, SYSTEM_OMITTED])
def test_without_a_system_role_the_instruction_begins_the_first_user_message(chat_tokenizer, template):
    tokenizer = chat_tokenizer(template)
    prompt = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?")).encode([[2]])
    assert as_text(tokenizer, prompt).startswith("<s> <turn> user \n What is heard ? \n (0) <end>")


def test_a_template_that_formats_the_last_message_differently_is_accepted(chat_tokenizer):
    template = from_chat_template(chat_tokenizer(LAST_DIFFERS), "What")
    assert template == from_chat_template(chat_tokenizer(), "What")


def test_a_template_that_formats_every_message_differently_is_refused(chat_tokenizer):
    with pytest.raises(UserError, match=r"prompt\.chat: false"):
        from_chat_template(chat_tokenizer(NUMBERED), "")


@pytest.mark.parametrize("instruction", ["", "What is heard ?"])
def test_the_start_token_comes_first_and_once(chat_tokenizer, instruction):
    tokenizer = chat_tokenizer()
    plain = plain_template(tokenizer, instruction, "\n")
    assert plain.start[0] == tokenizer.bos_token_id
    starting = chat_tokenizer("{{ bos_token }}" + tokenizer.chat_template)
    chat, with_start = (from_chat_template(each, instruction) for each in (tokenizer, starting))
    for template in (plain, chat, with_start):
        assert template.start.count(tokenizer.bos_token_id) == 1
        assert template.start[0] == tokenizer.bos_token_id


def test_a_tokenizer_without_a_start_token_adds_none(chat_tokenizer):
    tokenizer = chat_tokenizer()
    tokenizer.bos_token = None
    assert plain_template(tokenizer, "", "\n").start == []


def test_a_chat_model_is_trained_and_scored_on_the_same_positions(build, chat_folder, store):
    """The loss of an answer's word is the negative score of that label."""
    model = build(str(chat_folder), prompt={"instruction": "What is heard ?"})
    assert model.prompt.options.chat is True
    scores = label_log_probabilities(model, store.stack(["u0"]), [[1]], store.stack(["u2"]))
    features = store.stack(["u0", "u2"])
    batch = model.batch([model.prompt.encode([[1], [2]], first_target=1)], features)
    with torch.no_grad():
        losses = model.losses(batch, features)[0]
    word = int((batch.targets[0] != IGNORE).nonzero()[0])
    assert_close(scores[0, 2], -losses[word], atol=1e-5, rtol=1e-5)
