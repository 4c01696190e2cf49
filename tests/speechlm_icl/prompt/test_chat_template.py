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
SYSTEM_UNSAID = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<turn>' + message['role'] + '\n' + message['content'] + '<end>\n' }}{% endif %}{% endfor %}"
)
LAST_APART = (
    "{% for message in messages %}{{ '<turn>' + message['role'] + '\n' + "
    "('very ' if loop.last else '') + message['content'] + '<end>\n' }}{% endfor %}"
)
NUMBERED = (
    "{% for message in messages %}{{ '<turn>' * loop.index + message['content'] + '<end>' }}{% endfor %}"
)


def told(tokenizer, prompt) -> str:
    words = tokenizer.convert_ids_to_tokens(prompt.token_ids)
    pairs = zip(words, prompt.clips, strict=True)
    return " ".join(word if clip == TEXT else f"({clip})" for word, clip in pairs)


def test_a_chat_prompt_is_the_template_around_clips_and_answers(chat_tokenizer):
    tokenizer = chat_tokenizer()
    form = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?"))
    prompt = form.encode([[2], [1, 0]])
    assert told(tokenizer, prompt) == (
        "<s> <turn> system \n What is heard ? <end> \n <turn> user \n (0) <end> \n <turn> assistant \n sad "
        "<end> \n <turn> user \n (1) <end> \n <turn> assistant \n happy and angry <end> \n <turn> user \n"
    )
    targets = [tokenizer.convert_ids_to_tokens(one) for one in prompt.targets if one != IGNORE]
    assert targets == ["sad", "<end>", "happy", "and", "angry", "<end>"]


def test_it_is_what_the_template_itself_would_write(chat_tokenizer):
    """With words in place of the clips; only the leading start token and the next turn's opening differ."""
    tokenizer = chat_tokenizer()
    form = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?"))
    prompt = form.encode([[2], [1]])
    very = tokenizer.convert_tokens_to_ids("very")
    ours = [very if clip != TEXT else one for one, clip in zip(prompt.token_ids, prompt.clips, strict=True)]
    turns = [("system", "What is heard ?"), ("user", "very"), ("assistant", " sad")]
    turns += [("user", "very"), ("assistant", " happy")]
    messages = [{"role": role, "content": content} for role, content in turns]
    theirs = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"]
    assert ours[1 : len(theirs) + 1] == theirs
    assert tokenizer.decode(ours[len(theirs) + 1 :]).split() == ["<turn>", "user"]


@pytest.mark.parametrize("template", [NO_SYSTEM, SYSTEM_UNSAID])
def test_without_a_system_turn_the_instruction_opens_the_users_first(chat_tokenizer, template):
    tokenizer = chat_tokenizer(template)
    prompt = PromptFormat(tokenizer, EMOTIONS, PromptOptions("What is heard ?")).encode([[2]])
    assert told(tokenizer, prompt).startswith("<s> <turn> user \n What is heard ? \n (0) <end>")


def test_a_template_that_treats_the_last_turn_apart_is_fine(chat_tokenizer):
    usual, apart = from_chat_template(chat_tokenizer(), "What"), from_chat_template(chat_tokenizer(LAST_APART), "What")
    assert usual == apart


def test_a_template_whose_turns_differ_is_refused(chat_tokenizer):
    with pytest.raises(UserError, match=r"prompt\.chat: false"):
        from_chat_template(chat_tokenizer(NUMBERED), "")


@pytest.mark.parametrize("instruction", ["", "What is heard ?"])
def test_the_start_token_comes_first_and_once(chat_tokenizer, instruction):
    tokenizer = chat_tokenizer()
    plain = plain_template(tokenizer, instruction, "\n")
    assert plain.start[0] == tokenizer.bos_token_id
    starting = chat_tokenizer("{{ bos_token }}" + tokenizer.chat_template)
    for turns in (plain, from_chat_template(tokenizer, instruction), from_chat_template(starting, instruction)):
        assert turns.start.count(tokenizer.bos_token_id) == 1
        assert turns.start[0] == tokenizer.bos_token_id


def test_without_a_start_token_there_is_none(chat_tokenizer):
    tokenizer = chat_tokenizer()
    tokenizer.bos_token = None
    assert plain_template(tokenizer, "", "\n").start == []


def test_a_chat_model_is_trained_and_scored_on_the_same_positions(build, chat_folder, store):
    """The loss of a one-word answer, less that of its end, is the negative score of its word."""
    model = build(str(chat_folder), prompt={"instruction": "What is heard ?"})
    assert model.prompt.options.chat is True
    scores = label_log_probabilities(model, store.stack(["u0"]), [[1]], store.stack(["u2"]))
    features = store.stack(["u0", "u2"])
    batch = model.batch([model.prompt.encode([[1], [2]], first_target=1)], features)
    with torch.no_grad():
        losses = model.losses(batch, features)[0]
    word = int((batch.targets[0] != IGNORE).nonzero()[0])
    assert_close(scores[0, 2], -losses[word], atol=1e-5, rtol=1e-5)
