"""An audio LLM behind an endpoint, in place of one that is loaded (`speechlm_icl.audio_llm.model`).

Each answer is kept in a file, by a digest of its question, so that nothing is asked twice: neither after a
run was stopped, nor in a run of another method that asks the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perser.errors import UserError
from perser.io.checksums import json_sha256
from perser.io.json_files import read_json, write_json
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.chat import Wording, wav_base64
from speechlm_icl.audio_llm.endpoint.client import EndpointClient, EndpointReply, Refused
from speechlm_icl.audio_llm.endpoint.reading import choice_format, from_choice, from_log_probabilities
from speechlm_icl.audio_llm.endpoint.settings import EndpointSettings
from speechlm_icl.audio_llm.model import Answers, default_wording

WAYS = ("log-probabilities", "choice", "text")
"""How an answer was read, the most exact first."""

MOST_TOKENS = 16
"""Of an answer."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """One answer, as it is kept.

    Args:
        probabilities: Of the labels.
        way: One of WAYS.
        usable: Whether it named a label; where it did not, all labels are equally likely.
        tokens_in: Tokens that the endpoint read for it.
        tokens_out: Tokens that it wrote.
        seconds: How long it took.
    """

    probabilities: tuple[float, ...]
    way: str
    usable: bool
    tokens_in: int
    tokens_out: int
    seconds: float


@dataclass
class Usage:
    """What the answers of a run took; those that were kept from an earlier run count too."""

    answers: list[Answered] = field(default_factory=list)
    kept: int = 0

    def as_json(self, settings: EndpointSettings) -> dict[str, Any]:
        """Return totals for the record."""
        answers = self.answers
        tokens_in, tokens_out = (
            sum(each.tokens_in for each in answers),
            sum(each.tokens_out for each in answers),
        )
        cost = (tokens_in * settings.price_in + tokens_out * settings.price_out) / 1e6
        ways = {way: sum(each.way == way for each in answers) for way in WAYS}
        return {
            "questions": len(answers),
            "kept from before": self.kept,
            **{f"read from {way}": count for way, count in ways.items() if count},
            "unusable answers": round(sum(not each.usable for each in answers) / max(len(answers), 1), 4),
            "tokens read": tokens_in,
            "tokens written": tokens_out,
            "seconds of the endpoint": round(sum(each.seconds for each in answers), 2),
            **({"cost": round(cost, 4)} if cost else {}),
        }


class EndpointLLM:
    """An audio LLM behind an endpoint, with labels to choose from.

    Args:
        client: Asks the endpoint.
        folder: Where answers are kept.
        emotions: What answers choose from.
        wording: How prompts are worded; None for the default instruction and the emotions' names.
        usage: What was asked so far.
        first_way: The most exact of WAYS that is tried.
    """

    several_clips = True

    def __init__(
        self,
        client: EndpointClient,
        folder: Path,
        emotions: EmotionSet,
        wording: Wording | None = None,
        usage: Usage | None = None,
        first_way: str = WAYS[0],
    ) -> None:
        self.client = client
        self.folder = folder
        self.emotions = emotions
        self.wording = default_wording(emotions) if wording is None else wording
        self.usage = Usage() if usage is None else usage
        self.first_way = self._way = first_way
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.client.settings.model

    def with_labels(self, emotions: EmotionSet) -> EndpointLLM:
        """Return this model with other labels to choose from."""
        return self.worded(emotions, default_wording(emotions))

    def worded(self, emotions: EmotionSet, wording: Wording) -> EndpointLLM:
        """Return this model with other labels and another wording."""
        return EndpointLLM(self.client, self.folder, emotions, wording, self.usage, self.first_way)

    def to(self, device: str) -> None:
        """Do nothing: it computes elsewhere."""

    def describe(self) -> dict[str, Any]:
        settings = self.client.settings
        return {"model": self.name, "endpoint": settings.url} | self.usage.as_json(settings)

    def read(self, clips: Sequence[np.ndarray], answers: Answers) -> list[Message]:
        """Return the messages of an enrollment."""
        messages: list[Message] = []
        for clip, answer in zip(clips, answers, strict=True):
            messages.append(self._user(clip, first=not messages))
            messages.append({"role": "assistant", "content": self.wording.answer(answer)})
        return messages

    def score(self, enrollment: list[Message], clips: Sequence[np.ndarray]) -> Tensor:
        """Return log-probabilities of the labels for each of Q clips: float32 (Q, C)."""
        rows = [self._answer([*enrollment, self._user(clip, first=not enrollment)]) for clip in clips]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(clips), len(self.emotions)).log().float()

    def _user(self, clip: np.ndarray, first: bool) -> Message:
        audio = {"type": "input_audio", "input_audio": {"data": wav_base64(clip, "PCM_16"), "format": "wav"}}
        text = {"type": "text", "text": self.wording.instruction}
        return {"role": "user", "content": [text, audio] if first else [audio]}

    def _answer(self, messages: list[Message]) -> tuple[float, ...]:
        settings = self.client.settings
        question = {
            "model": settings.model,
            "messages": messages,
            "max_tokens": MOST_TOKENS,
            "temperature": 0,
        }
        digest = json_sha256([settings.url, question, self.wording.labels, self.first_way])
        file = self.folder / digest[:2] / f"{digest}.json"
        with self._lock:
            answered = _kept(read_json(file), len(self.wording.labels))
            if answered is None:
                answered = self._ask(question)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_json(file, asdict(answered))
            else:
                self.usage.kept += 1
            self.usage.answers.append(answered)
            return answered.probabilities

    def _ask(self, question: Mapping[str, Any]) -> Answered:
        """Ask for log-probabilities, then for a choice, then for a text, until one is to be had.

        What the endpoint once refused or left out is not asked for again.
        """
        labels, replies = self.wording.labels, []
        if self._way == WAYS[0]:
            reply = self._reply({**question, "logprobs": True, "top_logprobs": 20})
            if reply is not None:
                replies.append(reply)
                given = from_log_probabilities(reply.choice, labels)
                if given is not None:
                    return _answered(given, WAYS[0], replies)
            if reply is None or not reply.choice.get("logprobs"):
                self._way = WAYS[1]
        if self._way != WAYS[2]:
            reply = self._reply(
                {**question, "max_tokens": 4 * MOST_TOKENS, "response_format": choice_format(labels)}
            )
            if reply is not None:
                replies.append(reply)
                return _answered(from_choice(reply.text, labels), WAYS[1], replies, len(labels))
            self._way = WAYS[2]
        if not replies:
            replies.append(self._required_reply(question))
        return _answered(from_choice(replies[-1].text, labels), WAYS[2], replies, len(labels))

    def _reply(self, question: Mapping[str, Any]) -> EndpointReply | None:
        """Return the reply; None where the endpoint does not take the question."""
        try:
            return self.client.ask(question)
        except Refused:
            return None

    def _required_reply(self, question: Mapping[str, Any]) -> EndpointReply:
        """Return the reply. Raises UserError where the endpoint does not take the question."""
        try:
            return self.client.ask(question)
        except Refused as error:
            settings = self.client.settings
            raise UserError(
                f"the endpoint {settings.url} does not take the question to '{settings.model}' ({error}): "
                "see that it has a model of this name that hears audio, and enroll fewer clips if the prompt "
                "is too long"
            ) from None


def _answered(
    given: np.ndarray | None, way: str, replies: Sequence[EndpointReply], num_labels: int = 0
) -> Answered:
    usable = given is not None
    probabilities = np.full(num_labels, 1 / num_labels) if given is None else given
    return Answered(
        tuple(map(float, probabilities)),
        way,
        usable,
        sum(reply.tokens_in for reply in replies),
        sum(reply.tokens_out for reply in replies),
        sum(reply.seconds for reply in replies),
    )


def _kept(content: Mapping[str, Any] | None, num_labels: int) -> Answered | None:
    """Return an answer that was kept; None for none, or a damaged one, which is asked again."""
    if content is None:
        return None
    try:
        answered = Answered(**{**content, "probabilities": tuple(map(float, content["probabilities"]))})
        total = sum(answered.probabilities)
        is_right = len(answered.probabilities) == num_labels and min(answered.probabilities) > 0
        numbers = (answered.tokens_in, answered.tokens_out, answered.seconds)
        is_right = is_right and abs(total - 1) < 1e-6 and sum(numbers) >= 0 and answered.way in WAYS
    except (TypeError, ValueError, LookupError):
        return None
    return answered if is_right else None
