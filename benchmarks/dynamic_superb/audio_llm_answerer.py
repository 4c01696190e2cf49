"""Let a ready audio LLM answer items in its own chat: in its own words, or with the likeliest option."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from benchmarks.dynamic_superb.ask import ItemWithClips
from benchmarks.dynamic_superb.speech_lm_answerer import AnswerMode
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.chat import Wording
from speechlm_icl.audio_llm.model import AudioLLM

PLACEHOLDER = EmotionSet(("yes", "no"))
"""Labels of a model that is loaded before its options are known."""


class AudioLLMAnswerer:
    """Asks an audio LLM: the instruction, then the recordings, in one turn.

    Args:
        llm: The model.
        max_new_tokens: Longest answer, in tokens.
        mode: `generate`: what it writes; `score`: the option whose tokens are the likeliest.
    """

    def __init__(self, llm: AudioLLM, max_new_tokens: int = 32, mode: AnswerMode = "generate") -> None:
        self.llm = llm
        self.max_new_tokens = max_new_tokens
        self.mode = mode
        self._with_options = lru_cache(self._worded)

    def __call__(self, items: Sequence[ItemWithClips]) -> list[str]:
        """Return one answer for each item. Raises UserError, with the item's file, for one that the model
        cannot be asked."""
        return [self._answer(item) for item in items]

    def _answer(self, item: ItemWithClips) -> str:
        asked, clips = item.item, [clip.numpy() for clip in item.clips]
        try:
            if self.mode == "generate":
                messages = [self.llm.chat.user(asked.instruction, *clips)]
                return self.llm.write(messages, clips, self.max_new_tokens)
            return self._with_options(asked.instruction, asked.options).likeliest(clips)
        except UserError as error:
            raise UserError(f"{asked.file}: {error}") from error

    def _worded(self, instruction: str, options: tuple[str, ...]) -> AudioLLM:
        return self.llm.worded(EmotionSet(options), Wording(instruction, options))
