"""The names that other tools give to emotions, and the words that they mean here.

One table for the labels of checkpoints (`id2label`) and for the columns of tables of probabilities. Capitals,
digits and punctuation around a name do not matter: `neu`, `Neutral state`, `HAPPY` and `03-happy` are known.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from perser.errors import UserError
from perser.labels import Emotions

NAMES: dict[str, str] = {
    "angry": "ang anger angriness irritated irritation mad rage ira wut arger arrabbiato en_colere",
    "anxious": "anxiety nervous worried worry",
    "bored": "boredom bor",
    "calm": "cal calmness relaxed peaceful tranquil",
    "confused": "confusion",
    "contempt": "con contemptuous scorn",
    "disappointed": "disappointment",
    "disgust": "dis disgusted digust disgusting revulsion",
    "excited": "exc excitement excitation",
    "fear": "fea fearful feared afraid scared fearfulness terrified",
    "frustrated": "fru frustration frustated",
    "happy": "hap happiness happines joy joyful joyous cheerful gladness",
    "neutral": "neu neutrality no_emotion none neutro emotionless",
    "other": "oth others other_emotion unk unknown",
    "sad": "sadness sadnes sorrow sorrowful unhappy",
    "sarcastic": "sarcasm",
    "surprise": "sur surp surprised suprised suprise astonished astonishment ps pleasant_surprise",
    "positive": "pos positive_sentiment",
    "negative": "neg negative_sentiment",
}
"""Our word, and the other names of it, separated by spaces; `_` stands for a space inside a name."""

FILLERS = frozenset(
    ("emotion", "state", "feeling", "label", "voice", "speech", "class", "p", "prob", "probability", "score")
)
"""Words that say nothing when they stand beside the name of an emotion."""

PLACEHOLDER = re.compile(r"(label|class|speaker|emotion)?[\s_-]*\d+", re.IGNORECASE)
"""Names that number the labels and say no emotion, such as LABEL_0."""


def _table() -> dict[str, str]:
    """Return the word of each name."""
    words = {word: word for word in NAMES}
    for word, names in NAMES.items():
        words |= {name.replace("_", " "): word for name in names.split()}
    return words


WORDS = _table()
"""The word of each name of an emotion, in lower case."""


def emotion_word(name: str) -> str | None:
    """Return the word that another tool's name of an emotion means here, or None for no name of an emotion.

    Of a name in two languages, such as `生气/angry`, the part that is known counts.
    """
    for text in (name, *re.split(r"[/|]", name)):
        plain = _plain(text)
        if plain in WORDS:
            return WORDS[plain]
        telling = [word for word in plain.split() if word not in FILLERS]
        if (short := " ".join(telling)) in WORDS:
            return WORDS[short]
    return None


def own_word(name: str) -> str:
    """Return `emotion_word`, or, for a name that the table does not have, the name itself in lower case."""
    return emotion_word(name) or " ".join(unicodedata.normalize("NFC", name).lower().split())


def emotion_words(names: Sequence[str], where: str, remedy: str) -> Emotions:
    """Return the words of another tool's names of emotions, in their order.

    Names that the table does not have stay as they are, in lower case, where at least two others are known.

    Args:
        names: the tool's names.
        where: what has these names, for messages.
        remedy: how to name them, for messages.

    Raises UserError for names that say no emotion (`LABEL_0`), for names of which fewer than two are
    emotions, and for two that are the same emotion.
    """
    if unnamed := [name for name in names if PLACEHOLDER.fullmatch(name.strip()) or not name.strip()]:
        raise UserError(f"{where} has labels without a name ({_some(unnamed)}): {remedy}")
    if sum(emotion_word(name) is not None for name in names) < 2:
        raise UserError(f"the labels of {where} are no emotions ({_some(names)}): {remedy}")
    of_word: dict[str, list[str]] = defaultdict(list)
    for name in names:
        of_word[own_word(name)].append(name)
    for word, same in of_word.items():
        if len(same) > 1:
            raise UserError(f"{where}: the labels {' and '.join(same)} are both {word}: {remedy}")
    return tuple(of_word)


def _plain(text: str) -> str:
    """Return a name in lower case without accents, digits and punctuation, its words separated by spaces."""
    without_accents = "".join(
        letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)
    )
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", without_accents)  # NeutralState
    return " ".join(re.sub(r"[\W\d_]+", " ", apart).lower().split())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "''" for name in names[:4])
    return shown if len(names) <= 4 else f"{shown}, ..."
