"""Ways to word the same prompt: instructions, and words for the emotions.

They differ in wording alone, so a model that understands its prompt answers the same with each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import ascii_uppercase

from perser.errors import UserError
from perser.io.emotion_names import NAMES
from perser.labels import Emotions

OWN = "own"
"""The instruction that a method has by itself."""

NAMES_OF_EMOTIONS = "names"
"""The label words that are the emotions' own names."""

INSTRUCTIONS: dict[str, str | None] = {
    OWN: None,
    "short": "Which emotion is heard in each recording? One of: {listed}.",
    "expert": (
        "You are an expert in emotional speech. For each recording, name the emotion that the speaker shows. "
        "Answer with one of these words and nothing else: {listed}."
    ),
}
"""Instructions by name; {listed} stands for the label words. None: the method's own."""


def names(emotions: Emotions) -> dict[str, str]:
    """Return each emotion's own name."""
    return {emotion: emotion for emotion in emotions}


def synonyms(emotions: Emotions) -> dict[str, str]:
    """Return another word of each emotion, such as sadness for sad, where one is known."""
    others = {word: [name for name in text.split() if "_" not in name] for word, text in NAMES.items()}
    return {
        emotion: next((name for name in others.get(emotion, ()) if len(name) > 4), emotion)
        for emotion in emotions
    }


def letters(emotions: Emotions) -> dict[str, str]:
    """Return A, B, C and so on: words that say nothing of the emotion, so that only the pairs do.

    Raises UserError for more emotions than there are letters.
    """
    if len(emotions) > len(ascii_uppercase):
        raise UserError(f"{len(emotions)} emotions are more than there are letters: leave out --wordings")
    return dict(zip(emotions, ascii_uppercase, strict=False))


LABEL_WORDS: dict[str, Callable[[Emotions], dict[str, str]]] = {
    NAMES_OF_EMOTIONS: names,
    "synonyms": synonyms,
    "letters": letters,
}
"""Label words by name."""


def instruction_with(instruction: str, words: Mapping[str, str]) -> str:
    """Return an instruction that lists the label words where it says {listed}."""
    return instruction.replace("{listed}", ", ".join(words.values()))
