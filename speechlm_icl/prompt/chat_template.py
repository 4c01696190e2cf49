"""What stands around clips and answers in a prompt: plain text, or a language model's own chat template.

The pieces are tokenized one by one, once, and joined as ids, so that a label has the same tokens wherever it
stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from perser.errors import UserError

# Stand for a clip and an answer while the template is taken apart; plain words, which it leaves as they are.
_CLIP, _ANSWER = "CLIPSTANDSHERE", "ANSWERSTANDSHERE"


@dataclass(frozen=True)
class Turns:
    """Token ids of a prompt `start (clip cue answer end following)*`.

    Args:
        start: Before the first clip; begins with the model's start token where it has one.
        cue: Between a clip and its answer.
        end: Ends an answer; to be predicted, like the answer.
        following: Between an answer's end and the next clip.
    """

    start: list[int]
    cue: list[int]
    end: list[int]
    following: list[int]


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The text's own tokens: nothing is put before or after it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def plain_turns(tokenizer: PreTrainedTokenizerBase, instruction: str, separator: str) -> Turns:
    """`instruction (clip answer separator)*`."""
    return Turns(
        _started(tokenizer, token_ids(tokenizer, instruction)), [], token_ids(tokenizer, separator), []
    )


def chat_turns(tokenizer: PreTrainedTokenizerBase, instruction: str) -> Turns:
    """The instruction in the system's turn (in the user's first where the template knows no system), every
    clip a turn of the user and every answer one of the assistant, which its end-of-turn token ends.

    Raises UserError for a template that words later turns differently from earlier ones.
    """
    text = _rendered(tokenizer, instruction)
    start, *rest = text.split(_CLIP)
    pieces = [piece.split(_ANSWER) for piece in rest]
    # The last answer is left out: some templates treat it apart.
    turns = {tuple(piece) for piece in pieces[:-1]}
    if len(turns) != 1 or len(next(iter(turns))) != 2:
        raise UserError("the chat template words one turn unlike another: give prompt.chat: false")
    cue, after = (token_ids(tokenizer, text) for text in turns.pop())
    last = _end_of_turn(after, tokenizer.all_special_ids)
    return Turns(_started(tokenizer, token_ids(tokenizer, start)), cue, after[:last], after[last:])


def _rendered(tokenizer: PreTrainedTokenizerBase, instruction: str) -> str:
    """A conversation of four clips and their answers in the template's words."""
    pairs = [("user", _CLIP), ("assistant", _ANSWER)] * 4
    turns = [{"role": role, "content": content} for role, content in pairs]
    if not instruction:
        return tokenizer.apply_chat_template(turns, tokenize=False)
    try:
        system = {"role": "system", "content": instruction}
        text = tokenizer.apply_chat_template([system, *turns], tokenize=False)
    except TemplateError:
        text = ""
    if instruction.strip() in text:
        return text
    turns[0] = {"role": "user", "content": f"{instruction}\n{_CLIP}"}
    return tokenizer.apply_chat_template(turns, tokenize=False)


def _end_of_turn(after: list[int], special: list[int]) -> int:
    """How many of the tokens after an answer end it: up to the first special one, or the first alone."""
    found = [place for place, token in enumerate(after) if token in special]
    return found[0] + 1 if found else 1


def _started(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """With the model's start token first, where it has one: pretrained models rest their attention on the
    first position, which must be none that carries a clip."""
    start = tokenizer.bos_token_id
    return ids if start is None or ids[:1] == [start] else [start, *ids]
