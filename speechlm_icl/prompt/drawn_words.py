"""Words that can be labels though they mean no emotion: only the pairs of a prompt say what they stand for.

They are English nouns from `nouns.txt`. In training, sequences draw some of them at random. Where a
tokenizer lacks a word that a person uses as a label, one of them stands in for it (`open_labels.stand_ins`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from transformers import PreTrainedTokenizerBase

from perser.episodes.sampling import evenly_spaced

MOST_TOKENS = 3
"""Of a noun. A longer one would be spelled, not read."""

STAND_INS = 18
"""How many nouns are in the vocabulary of a language model that is trained from scratch.

So many that the words in use must be read from the pairs, and so few that each is met often.
"""


@cache
def nouns() -> tuple[str, ...]:
    """Return all nouns of the list, in alphabetical order."""
    text = (files("speechlm_icl.prompt") / "nouns.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def stand_ins() -> list[str]:
    """Return the nouns that a vocabulary made for the prompts holds."""
    return list(evenly_spaced(nouns(), STAND_INS))


def drawable_words(
    tokenizer: PreTrainedTokenizerBase, taken: Sequence[str] = (), before: str = " "
) -> list[str]:
    """Return the nouns of one to three tokens that the tokenizer knows.

    None has the tokens of another, or of a word in `taken`, as its beginning, so that any of them can be
    labels of one prompt.

    Args:
        tokenizer: Of the language model.
        taken: Words that are labels already.
        before: What stands before a label in a prompt.
    """
    words = [*dict.fromkeys(taken), *(noun for noun in nouns() if noun not in taken)]
    encoded = tokenizer([f"{before}{word}" for word in words], add_special_tokens=False)["input_ids"]
    tokens = dict(zip(words, map(tuple, encoded), strict=True))
    starts = set(tokens.values())
    unknown = tokenizer.unk_token_id

    def is_drawable(word: str) -> bool:
        label = tokens[word]
        if word in taken or not 1 <= len(label) <= MOST_TOKENS or (unknown is not None and unknown in label):
            return False
        return not any(label[:length] in starts for length in range(1, len(label)))

    return [word for word in words if is_drawable(word)]
