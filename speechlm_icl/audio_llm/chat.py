"""Conversations with clips through a model's own chat template, as token ids and as inputs of the model.

A clip is a run of audio tokens. Only their number depends on the clip, so a conversation is rendered once,
with silence in the place of each clip, and what stands between the runs is kept (`Skeleton`).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from perser.audio import SAMPLE_RATE
from perser.errors import UserError, first_line
from speechlm_icl.prompt.prompt import IGNORE, TEXT, EncodedPrompt, default_instruction

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a processor returns about the text; the rest is about the clips."""

SILENCE = np.zeros(SAMPLE_RATE // 2, dtype=np.float32)
"""The clip whose audio tokens show where a clip stands."""

Message = dict[str, Any]

Answers = Sequence[Sequence[int]]
"""The emotions of each enrolled clip, as class indices, in the order in which the prompt lists them."""


@dataclass(frozen=True)
class ClipInputs:
    """Clips as a model takes them.

    Args:
        features: Keyword arguments of the model.
        counts: How many audio tokens each clip takes.
    """

    features: Mapping[str, Tensor]
    counts: tuple[int, ...]

    def on(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the features on a device, floating-point ones in a number format."""
        return {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in self.features.items()
        }


@dataclass(frozen=True)
class Skeleton:
    """The token ids before, between and after the clips of a conversation: one part more than clips."""

    parts: tuple[tuple[int, ...], ...]
    audio_token: int

    @property
    def without_last_clip(self) -> Skeleton:
        """The same up to where the last clip begins."""
        return Skeleton(self.parts[:-1], self.audio_token)

    def before_last_clip(self, counts: Sequence[int]) -> list[int]:
        """Return the ids up to where the last clip begins; `counts`: audio tokens of the clips before it."""
        ids = list(self.parts[0])
        for count, part in zip(counts, self.parts[1:-1], strict=True):
            ids += [self.audio_token] * count + list(part)
        return ids

    def from_last_clip(self, count: int) -> list[int]:
        """Return the ids of the last clip and of what follows it."""
        return [self.audio_token] * count + list(self.parts[-1])


class Chat:
    """Renders conversations with a processor.

    Args:
        processor: The model's processor.
        name: The model's name, for messages.
        takes_text: Whether the processor takes rendered text; else it takes messages (Voxtral's).

    Raises UserError for a processor without a chat template, or with one that has no place for clips.
    """

    def __init__(self, processor: Any, name: str, takes_text: bool) -> None:
        self.processor = processor
        self.name = name
        self.takes_text = takes_text
        self.tokenizer = processor.tokenizer
        token = processor.audio_token
        self.audio_token = int(self.tokenizer.convert_tokens_to_ids(token))
        self._word = token
        self._writes_clips = False
        """Whether clips are written into the text as an audio token, because the template takes text only."""
        if takes_text:
            self._find_place_of_clips()

    @property
    def template(self) -> str | None:
        """The chat template: the processor's, or its tokenizer's."""
        return getattr(self.processor, "chat_template", None) or self.tokenizer.chat_template

    def user(self, text: str, *clips: np.ndarray) -> Message:
        """Return a message of the person: a text, and clips after it, with a line end between two."""
        if self._writes_clips:
            return {"role": "user", "content": text + "\n".join([self._word] * len(clips))}
        parts: list[dict[str, str]] = [{"type": "text", "text": text}] if text else []
        for number, clip in enumerate(clips):
            parts += [{"type": "text", "text": "\n"}] if number else []
            parts.append(
                {"type": "audio"}
                if self.takes_text
                else {"type": "audio", "base64": wav_base64(clip, "FLOAT")}
            )
        return {"role": "user", "content": parts}

    def assistant(self, text: str) -> Message:
        """Return an answer of the model."""
        if self._writes_clips or not self.takes_text:
            return {"role": "assistant", "content": text}
        return {"role": "assistant", "content": [{"type": "text", "text": text}]}

    def encode(
        self, conversations: Sequence[Sequence[Message]], clips: Sequence[np.ndarray]
    ) -> Mapping[str, Tensor]:
        """Return what the processor makes of conversations that each await an answer.

        Args:
            conversations: Their messages.
            clips: The clips of all of them, in their order, (num_samples,) at 16 kHz each.
        """
        if not self.takes_text:
            encoded = self.processor.apply_chat_template([list(each) for each in conversations])
        else:
            texts = [self._render(each) for each in conversations]
            begins = self.tokenizer.bos_token is not None and texts[0].startswith(self.tokenizer.bos_token)
            encoded = self.processor(
                text=texts,
                audio=readable_together(clips, self.processor) or None,
                text_kwargs={"padding": True} | ({"add_special_tokens": False} if begins else {}),
                audio_kwargs={"sampling_rate": SAMPLE_RATE},
                return_tensors="pt",
            )
        return {name: torch.as_tensor(value) for name, value in encoded.items()}

    def clip_inputs(self, clips: Sequence[np.ndarray]) -> ClipInputs:
        """Return clips as the model takes them, all of one batch."""
        encoded = self.encode([[self.user("", clip)] for clip in clips], clips)
        counts = (encoded["input_ids"] == self.audio_token).sum(dim=1).tolist()
        features = {name: value for name, value in encoded.items() if name not in TEXT_INPUTS}
        return ClipInputs(features, tuple(counts))

    def skeleton(self, messages: Sequence[Message], num_clips: int) -> Skeleton:
        """Return the ids around the clips of one conversation.

        Raises UserError where the template leaves out a clip.
        """
        ids = self.encode([messages], [SILENCE] * num_clips)["input_ids"][0].tolist()
        return self.split_at_clips(ids, num_clips)[0]

    def split_at_clips(self, ids: Sequence[int], num_clips: int) -> tuple[Skeleton, tuple[int, ...]]:
        """Return what stands around the clips of a conversation, and how many audio tokens each clip takes.

        Raises UserError where the template leaves out a clip.
        """
        runs = [(is_clip, tuple(run)) for is_clip, run in groupby(ids, lambda each: each == self.audio_token)]
        counts = tuple(len(run) for is_clip, run in runs if is_clip)
        if len(counts) != num_clips or runs[0][0] or runs[-1][0]:
            raise UserError(
                f"the chat template of '{self.name}' leaves out clips, or has no text around them: it cannot "
                "hold an enrollment"
            )
        return Skeleton(tuple(run for is_clip, run in runs if not is_clip), self.audio_token), counts

    def _render(self, messages: Sequence[Message]) -> str:
        return self.processor.apply_chat_template(
            list(messages), chat_template=self.template, tokenize=False, add_generation_prompt=True
        )

    def _find_place_of_clips(self) -> None:
        """Find out whether the template takes clips as parts of a message. If it takes texts alone, they are
        written into them."""
        if not self.template:
            raise UserError(
                f"'{self.name}' has no chat template, so it cannot be asked in turns: give a model that was "
                "trained to chat (often named Instruct, Chat or it)"
            )
        reason = ""
        for self._writes_clips in (False, True):
            try:
                text = self._render(
                    [self.user("WORD", SILENCE), self.assistant("WORD"), self.user("", SILENCE)]
                )
            except Exception as error:  # a template can raise any exception
                reason = f" ({first_line(error)})"
                continue
            if text.count(self._word) == 2 and text.count("WORD") == 2 and "'type'" not in text:
                return
        raise UserError(
            f"the chat template of '{self.name}' has no place for clips{reason}: give a model that "
            "has one with a place for them"
        )


@dataclass(frozen=True)
class Wording:
    """How prompts are worded.

    Args:
        instruction: Text before the first clip.
        labels: The word of each emotion, by class.
        joiner: Text between two emotions of one clip.
    """

    instruction: str
    labels: tuple[str, ...]
    joiner: str = " and"

    def answer(self, emotions: Sequence[int]) -> str:
        """Return the text that answers a clip with emotions, given as class indices."""
        return f"{self.joiner} ".join(self.labels[emotion] for emotion in emotions)

    def with_labels(self, labels: tuple[str, ...]) -> Wording:
        """Return this wording with other label words. An instruction that lists the words lists the new ones,
        if it is the default one."""
        own = self.instruction == default_instruction(self.labels, self.joiner, chat=True)
        instruction = default_instruction(labels, self.joiner, chat=True) if own else self.instruction
        return Wording(instruction, labels, self.joiner)


class PromptTokens:
    """The tokens of prompts with one wording.

    Raises UserError where the tokens of a label cannot be told from what follows it, or begin another label.
    """

    def __init__(self, chat: Chat, wording: Wording) -> None:
        self.chat = chat
        self.wording = wording
        self.before, self.labels = self._label_tokens()
        for word, label in zip(wording.labels, self.labels, strict=True):
            for other, longer in zip(wording.labels, self.labels, strict=True):
                if other != word and longer[: len(label)] == label:
                    raise UserError(
                        f"the tokens of label '{word}' begin those of '{other}' for '{chat.name}': "
                        "give one of them another word"
                    )

    def prompt(self, answers: Answers) -> Skeleton:
        """Return a prompt of enrolled clips and a query."""
        clips = [SILENCE] * (len(answers) + 1)
        return self.chat.skeleton(self.messages(clips, answers), len(clips))

    def messages(
        self, clips: Sequence[np.ndarray], answers: Answers, wording: Wording | None = None
    ) -> list[Message]:
        """Return the turns of clips and the answers to them; clips beyond the answers are asked."""
        wording, messages = wording or self.wording, []
        for number, clip in enumerate(clips):
            messages.append(self.chat.user("" if number else wording.instruction, clip))
            if number < len(answers):
                messages.append(self.chat.assistant(wording.answer(answers[number])))
        return messages

    def marked(
        self, prompt: Skeleton, answers: Answers, wording: Wording | None = None, first_target: int = 0
    ) -> EncodedPrompt:
        """Return a prompt, with one audio token for each clip, in which the answers are marked.

        The words and the end of each answer from `first_target` on are targets.

        Raises UserError where the tokenizer joins an answer with what surrounds it.
        """
        start = len(prompt.parts[0])
        text = [TEXT] * start
        marked = EncodedPrompt(list(prompt.parts[0]), [*text], [*text], [*text], [IGNORE] * start)
        for clip, part in enumerate(prompt.parts[1:]):
            answer = None if clip >= len(answers) else (wording or self.wording).answer(answers[clip])
            begin, stop, end = (0, 0, 0) if answer is None else self._place(part, answer)
            places = range(len(part))
            marked.token_ids.extend([prompt.audio_token, *part])
            marked.clips.extend([clip] + [TEXT] * len(part))
            marked.answers.extend([TEXT, *(clip if begin <= place < stop else TEXT for place in places)])
            marked.ends.extend([TEXT, *(clip if place == end - 1 else TEXT for place in places)])
            asked = range(begin, end if clip >= first_target else begin)
            marked.targets.extend([IGNORE, *(part[place] if place in asked else IGNORE for place in places)])
        return marked

    def _place(self, part: tuple[int, ...], answer: str) -> tuple[int, int, int]:
        """Return where an answer begins in what follows its clip, where its words stop, and where its end
        does."""
        words = tuple(self._ids(f"{self.before}{answer}"))
        begin = len(self.cue)
        stop = begin + len(words)
        if part[:begin] != self.cue or part[begin:stop] != words:
            raise UserError(
                f"the tokenizer of '{self.chat.name}' joins the answer '{answer}' with what surrounds it: "
                "give the emotions other words"
            )
        ends = [place for place in range(stop, len(part)) if part[place] in self._special]
        return begin, stop, (ends[0] if ends else stop) + 1

    @cached_property
    def cue(self) -> tuple[int, ...]:
        """The tokens between a clip and its answer."""
        return self.prompt(()).parts[-1]

    def _label_tokens(self) -> tuple[str, list[tuple[int, ...]]]:
        """Return what the template writes before an answer, and the tokens of each label as an answer."""
        begun = self.chat.user(self.wording.instruction, SILENCE)
        after = []
        for word in self.wording.labels:
            done = [begun, self.chat.assistant(word), self.chat.user("?")]
            ids = self.chat.skeleton(done, 1).parts[-1]
            if ids[: len(self.cue)] != self.cue:
                raise UserError(
                    f"the chat template of '{self.chat.name}' writes a finished answer in another way than "
                    "one that begins, so labels cannot be scored after it"
                )
            after.append(ids[len(self.cue) :])
        for before in ("", " "):
            labels = [tuple(self._ids(f"{before}{word}")) for word in self.wording.labels]
            rests = {
                rest[len(label) :]
                for rest, label in zip(after, labels, strict=True)
                if rest[: len(label)] == label
            }
            starts = all(rest[: len(label)] == label for rest, label in zip(after, labels, strict=True))
            if all(labels) and starts and len(rests) == 1:
                return before, labels
        raise UserError(
            f"the tokenizer of '{self.chat.name}' joins a label with what surrounds it, or cannot encode it: "
            f"give other words than {', '.join(self.wording.labels)}"
        )

    @cached_property
    def _special(self) -> set[int]:
        """The tokens that no text has. Not every template's own are among a tokenizer's special ones."""
        tokenizer = self.chat.tokenizer
        added = tokenizer.get_added_vocab() if hasattr(tokenizer, "get_added_vocab") else {}  # not Voxtral's
        return {*tokenizer.all_special_ids, *added.values()}

    def _ids(self, text: str) -> list[int]:
        return list(self.chat.tokenizer(text, add_special_tokens=False)["input_ids"])


def readable_together(clips: Sequence[np.ndarray], processor: Any) -> list[np.ndarray]:
    """Return the clips of one prompt so that Phi-4's processor can read them together; for other processors
    as they are.

    Phi-4's fails with an index error where another clip ends less than a window before the longest one. The
    longest then gets as few zeros at its end as it takes: up to half a window, 5 ms.
    """
    extractor: Any = getattr(processor, "audio_processor", None)
    lengths = [len(clip) for clip in clips]
    if type(extractor).__name__ != "Phi4MultimodalFeatureExtractor" or len(set(lengths)) < 2:
        return list(clips)
    longest = max(lengths)
    window, hop = extractor.win_length, extractor.hop_length
    shorter = [length for length in lengths if length < longest]
    first, end = (min(shorter) - window) // hop + 1, max(shorter) // hop - 1  # frames that it masks
    lacking = max((end - 1) * hop + window - longest, 0)
    if end - first == 1:  # one is masked as it should be, or left out
        return list(clips)
    return [np.pad(clip, (0, lacking)) if len(clip) == longest else clip for clip in clips]


def wav_base64(clip: np.ndarray, subtype: str) -> str:
    """Return a clip as a WAV file in base64. `subtype`: its number format, such as FLOAT or PCM_16."""
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, SAMPLE_RATE, format="WAV", subtype=subtype)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
