"""The tokens around clips and answers in a prompt: from a language model's chat template, or plain text.

Each piece of text is tokenized once, on its own, and the ids are joined. So a label has the same tokens
wherever it occurs in a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from perser.errors import UserError

# Placeholders for a clip and an answer while a chat template is split up. They are plain words, which a
# template leaves unchanged.
_CLIP, _ANSWER = "CLIPSTANDSHERE", "ANSWERSTANDSHERE"


@dataclass(frozen=True)
class PromptTemplate:
    """Token ids of the fixed parts of a prompt `start (clip cue answer end following)*`.

    Args:
        start: Before the first clip. Begins with the model's start token where it has one.
        cue: Between a clip and its answer.
        end: Ends an answer. The model has to predict it, like the answer.
        following: Between the end of an answer and the next clip.
    """

    start: list[int]
    cue: list[int]
    end: list[int]
    following: list[int]


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of a text, without special tokens around them."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def plain_template(tokenizer: PreTrainedTokenizerBase, instruction: str, separator: str) -> PromptTemplate:
    """Return the template of a prompt `instruction (clip answer separator)*`."""
    start = _with_start_token(tokenizer, token_ids(tokenizer, instruction))
    return PromptTemplate(start, [], token_ids(tokenizer, separator), [])


def from_chat_template(tokenizer: PreTrainedTokenizerBase, instruction: str) -> PromptTemplate:
    """Return the template of a prompt in the tokenizer's chat template.

    The instruction is the system message, or the beginning of the first user message where the chat template
    has no system role. Each clip is a user message; each answer is an assistant message, which ends with the
    chat template's end-of-turn token.

    Raises UserError for a chat template that formats later messages differently from earlier ones.
    """
    start, *rest = _render_conversation(tokenizer, instruction).split(_CLIP)
    pieces = [piece.split(_ANSWER) for piece in rest]
    # The last answer is left out because some chat templates format the last message differently.
    around_answers = {tuple(piece) for piece in pieces[:-1]}
    if len(around_answers) != 1 or len(next(iter(around_answers))) != 2:
        raise UserError(
            "the chat template formats some messages differently from others: set prompt.chat: false"
        )
    cue, after = (token_ids(tokenizer, text) for text in around_answers.pop())
    end = _length_of_end(after, tokenizer.all_special_ids)
    start_ids = _with_start_token(tokenizer, token_ids(tokenizer, start))
    return PromptTemplate(start_ids, cue, after[:end], after[end:])


def _render_conversation(tokenizer: PreTrainedTokenizerBase, instruction: str) -> str:
    """Return a conversation of four clips and their answers as the chat template formats it."""
    pairs = [("user", _CLIP), ("assistant", _ANSWER)] * 4
    messages = [{"role": role, "content": content} for role, content in pairs]
    if not instruction:
        return tokenizer.apply_chat_template(messages, tokenize=False)
    try:
        system = {"role": "system", "content": instruction}
        text = tokenizer.apply_chat_template([system, *messages], tokenize=False)
    except TemplateError:
        text = ""
    if instruction.strip() in text:
        return text
    messages[0] = {"role": "user", "content": f"{instruction}\n{_CLIP}"}
    return tokenizer.apply_chat_template(messages, tokenize=False)


def _length_of_end(after: list[int], special: list[int]) -> int:
    """Return how many tokens after an answer end it: up to the first special token, or 1 if there is none."""
    special_positions = [position for position, token in enumerate(after) if token in special]
    return special_positions[0] + 1 if special_positions else 1


def _with_start_token(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """Return the ids with the tokenizer's start token before them, where it has one.

    Pretrained models put much of their attention on the first position (an attention sink), so that position
    must not hold a clip.
    """
    start = tokenizer.bos_token_id
    return ids if start is None or ids[:1] == [start] else [start, *ids]
