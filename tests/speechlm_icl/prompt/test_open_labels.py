from __future__ import annotations

import pytest
import torch

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.prompt.open_labels import open_prompt, stand_ins
from speechlm_icl.prompt.prompt import PromptFormat, PromptOptions, word_tokenizer
from speechlm_icl.scoring.scoring import label_log_probabilities

EMOTIONS = EmotionSet(("angry", "happy", "sad"))


@pytest.fixture
def tokenizer():
    return word_tokenizer(["angry happy sad very glad apple brick cloud and \n"])


def test_a_known_word_is_read_and_an_unknown_one_gets_a_stand_in(tokenizer):
    labels = EmotionSet(("sarcastic", "very glad", "tired"))
    assert stand_ins(tokenizer, labels, ["apple", "brick"]) == {"sarcastic": "apple", "tired": "brick"}


def test_a_stand_in_is_never_a_label_itself(tokenizer):
    labels = EmotionSet(("sarcastic", "apple"))
    assert stand_ins(tokenizer, labels, ["apple", "brick"]) == {"sarcastic": "brick"}


def test_words_that_can_stand_in_are_not_encoded_where_no_label_lacks_one():
    """With thousands of them, that took a quarter of a training step."""
    encoded = []

    class Known:
        unk_token_id = None

        def __call__(self, text, add_special_tokens):
            encoded.append(text)
            return {"input_ids": [len(encoded)]}

    assert stand_ins(Known(), EMOTIONS, ["apple", "brick"]) == {}
    assert encoded == [" angry", " happy", " sad"]


def test_more_labels_than_words_are_refused_with_how_many_there_may_be(tokenizer):
    trained = PromptFormat(tokenizer, EMOTIONS, PromptOptions(instruction=""))
    labels = EmotionSet(("one", "two", "three", "four", "five", "happy"))
    with pytest.raises(UserError, match="6 labels are more than this model has words for: use 4 at most"):
        open_prompt(tokenizer, trained, labels, ("apple",))


def test_a_label_that_begins_another_is_refused(tokenizer):
    trained = PromptFormat(tokenizer, EMOTIONS, PromptOptions(instruction=""))
    with pytest.raises(UserError, match="'very' are a prefix of those of 'very glad': use another word"):
        open_prompt(tokenizer, trained, EmotionSet(("very", "very glad")), ())


def test_scores_of_open_labels_are_those_of_the_words_that_stand_for_them(build, store):
    model = build()
    opened = model.with_labels(EmotionSet(("sad", "angry")))
    enrolled, queries = store.stack(["u0", "u1", "u2"]), store.stack(["u3", "u4"])
    own = label_log_probabilities(model, enrolled, [[0], [2], [2]], queries)
    as_open = label_log_probabilities(opened, enrolled, [[1], [0], [0]], queries)
    torch.testing.assert_close(as_open, own[:, [2, 0]])
    assert model.prompt.emotions.names == EMOTIONS.names
    assert all(a is b for a, b in zip(model.parameters(), opened.parameters(), strict=True))
