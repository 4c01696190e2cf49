"""Read labels out of what a model writes, instead of scoring them: the option `+text` of `audio-llm`.

It is what people do who only prompt a model. It is here to be compared: an answer that names no label, or
several, is unusable, and the share of these is in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perser.labels import EmotionSet
from speechlm_icl.audio_llm.chat import Message, Wording
from speechlm_icl.audio_llm.endpoint.reading import from_choice
from speechlm_icl.audio_llm.model import Answers, AudioLLM, default_wording

MOST_TOKENS = 16
"""Of an answer."""


class FreeTextLLM:
    """An audio LLM whose answers are read as text (a `speechlm_icl.audio_llm.model.InContextLLM`).

    Args:
        llm: The model.
        usable: Whether each answer so far named one label.
    """

    def __init__(self, llm: AudioLLM, usable: list[bool] | None = None) -> None:
        self.llm = llm
        self.usable = [] if usable is None else usable

    @property
    def name(self) -> str:
        return self.llm.name

    @property
    def several_clips(self) -> bool:
        return self.llm.several_clips

    @property
    def emotions(self) -> EmotionSet:
        return self.llm.emotions

    @property
    def wording(self) -> Wording:
        return self.llm.wording

    def with_labels(self, emotions: EmotionSet) -> FreeTextLLM:
        """Return this model with other labels to choose from."""
        return self.worded(emotions, default_wording(emotions))

    def worded(self, emotions: EmotionSet, wording: Wording) -> FreeTextLLM:
        """Return this model with other labels and another wording."""
        return FreeTextLLM(self.llm.worded(emotions, wording), self.usable)

    def to(self, device: str) -> None:
        """Move the model to a device."""
        self.llm.to(device)

    def describe(self) -> dict[str, Any]:
        unusable = self.usable.count(False) / max(len(self.usable), 1)
        return self.llm.describe() | {"answers": "text", "unusable answers": round(unusable, 4)}

    def read(self, clips: Sequence[np.ndarray], answers: Answers) -> tuple[list[Message], list[np.ndarray]]:
        """Return the messages of an enrollment and their clips."""
        chat, messages = self.llm.chat, list[Message]()
        for clip, answer in zip(clips, answers, strict=True):
            messages.append(chat.user("" if messages else self.wording.instruction, clip))
            messages.append(chat.assistant(self.wording.answer(answer)))
        return messages, list(clips)

    def score(
        self, enrollment: tuple[list[Message], list[np.ndarray]], clips: Sequence[np.ndarray]
    ) -> Tensor:
        """Return log-probabilities of the labels for each of Q clips: float32 (Q, C)."""
        messages, enrolled = enrollment
        rows = []
        for clip in clips:
            asked = [*messages, self.llm.chat.user("" if messages else self.wording.instruction, clip)]
            given = from_choice(self.llm.write(asked, [*enrolled, clip], MOST_TOKENS), self.wording.labels)
            self.usable.append(given is not None)
            rows.append(np.full(len(self.emotions), 1 / len(self.emotions)) if given is None else given)
        return torch.tensor(np.array(rows)).reshape(len(clips), len(self.emotions)).log().float()
