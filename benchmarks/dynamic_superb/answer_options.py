"""Read the answer options of a classification out of its instruction: "The answer could be ..."."""

from __future__ import annotations

import re

_BEFORE = re.compile(
    r"\banswers?\s+(?:could|can|may|might|should|must|will)\s+be\b\s*"
    r"(?:either\s+|(?:one\s+of\s+)?the\s+following\s*:)?[\s:]*",
    re.IGNORECASE,
)

_SENTENCE_END = re.compile(r"(?<!\.\w)[.?!]\s+(?=[A-Z])|\n")

_COMMA = re.compile(r"\s*[,;]\s*")

_LAST = re.compile(r"^(?:or|and)\s+", re.IGNORECASE)

_QUOTES = " \t\n'\"`‘’“”"  # noqa: RUF001

_STRIPPED = f"{_QUOTES}.,;:!?…()[]{{}}«»<>*_"


def options_in_instruction(instruction: str) -> tuple[str, ...]:
    """Return the options that an instruction names, in its order; empty where it names none.

    The list is what follows the last "answer could be", up to the end of the sentence. It is separated by
    commas or semicolons, with "or" or "and" before the last option; options may be quoted.
    """
    *_, listed = _BEFORE.split(instruction)
    if listed == instruction or not listed:
        return ()
    # The full stops of U.S. do not end a sentence; one before a space and a capital does.
    sentence = _SENTENCE_END.split(listed.strip())[0]
    *parts, last = _COMMA.split(sentence.rstrip(" .?!"))
    options = [*parts, *_last_options(last, alone=not parts)]
    return tuple(dict.fromkeys(stripped for option in options if (stripped := option.strip(_QUOTES))))


def normalize(text: str) -> str:
    """Return an answer as answers are compared: lower case, single spaces, no punctuation around it.

    Signs that tell answers apart (`-5`, `C#`) stay.
    """
    return " ".join(text.split()).strip(_STRIPPED).casefold()


def _last_options(last: str, alone: bool) -> list[str]:
    """Split the end of a list: `or c`, `b or c`, and where there is no comma (`alone`) `a or b or c`."""
    if _LAST.match(last):
        return [_LAST.sub("", last)]
    for word in (r"\s+or\s+", r"\s+and\s+"):
        if re.search(word, last, re.IGNORECASE):
            return re.split(word, last, maxsplit=0 if alone else 1, flags=re.IGNORECASE)
    return [last]
