"""An audio LLM of transformers: reads a person's enrollment, and scores the labels of further clips.

llm = load_audio_llm("Qwen/Qwen2-Audio-7B-Instruct", EmotionSet(("angry", "happy", "sad")))
enrollment = llm.read(clips, [(0,), (1, 2)])
scores = llm.score(enrollment, queries)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, PreTrainedModel

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.binding import Marks, marked
from speechlm_icl.audio_llm.chat import (
    TEXT_INPUTS,
    Answers,
    Chat,
    ClipInputs,
    Message,
    PromptTokens,
    Skeleton,
    Wording,
)
from speechlm_icl.audio_llm.families import AudioFamily
from speechlm_icl.model.audio_tokens import expand_audio_tokens
from speechlm_icl.model.binding import PairBinding
from speechlm_icl.prompt.prompt import collate, default_instruction
from speechlm_icl.scoring.label_trie import LabelTrie
from speechlm_icl.scoring.prefix_cache import PrefixCache

BATCH = 8
"""How many clips are answered together, where a family allows it."""


@dataclass(frozen=True)
class ReadEnrollment:
    """An enrollment that an audio LLM has read.

    Args:
        clips: The enrolled clips.
        prompt: The tokens around them and around a query.
        counts: How many audio tokens each enrolled clip takes.
        prefix: Keys and values up to the query's clip; None where every prompt is read from its beginning.
        answers: The answers to the enrolled clips; none where the clips are asked about together.
    """

    clips: tuple[np.ndarray, ...]
    prompt: Skeleton
    counts: tuple[int, ...]
    prefix: PrefixCache | None
    answers: Answers = ()


@dataclass(frozen=True)
class ReadQueries:
    """The model after the clips of Q queries.

    Args:
        logits: Of the first token of the answer (Q, V).
        cache: Keys and values, of Q rows.
        mask: Which of the cached positions hold a token, int64 (Q, T).
        lengths: How many positions of each row hold a token (Q,).
    """

    logits: Tensor
    cache: Cache
    mask: Tensor
    lengths: Tensor


class InContextLLM(Protocol):
    """What is asked about clips after an enrollment: an `AudioLLM`, or one behind an endpoint."""

    @property
    def emotions(self) -> EmotionSet: ...
    @property
    def wording(self) -> Wording: ...
    @property
    def name(self) -> str: ...
    @property
    def several_clips(self) -> bool:
        """Whether a prompt may hold more than one clip."""
        ...

    def with_labels(self, emotions: EmotionSet) -> InContextLLM: ...
    def worded(self, emotions: EmotionSet, wording: Wording) -> InContextLLM: ...
    def read(self, clips: Sequence[np.ndarray], answers: Answers) -> Any:
        """Read enrolled clips, (num_samples,) at 16 kHz each, with their emotions; none is allowed."""
        ...

    def score(self, enrollment: Any, clips: Sequence[np.ndarray]) -> Tensor:
        """Return the log-probability of each label for each of Q clips: float32 (Q, C), not normalized."""
        ...

    def to(self, device: str) -> None: ...
    def describe(self) -> dict[str, Any]: ...


class AudioLLM:
    """An audio LLM with labels to choose from.

    Args:
        model: The model, in evaluation mode.
        chat: Its processor.
        family: What the processor allows.
        emotions: What answers choose from.
        wording: How prompts are worded; None for the default instruction and the emotions' names.
        batch: The most clips of one batch.
        keeps_prefix: Whether the keys and values of an enrollment are kept; None: as the family allows.
        binding: What binds pairs, as `bind_pairs` was given it; None: they are not bound.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        family: AudioFamily,
        emotions: EmotionSet,
        wording: Wording | None = None,
        batch: int = BATCH,
        keeps_prefix: bool | None = None,
        binding: PairBinding | None = None,
    ) -> None:
        self.model = model
        self.chat = chat
        self.family = family
        self.emotions = emotions
        self.wording = default_wording(emotions) if wording is None else wording
        self.batch = batch
        self.keeps_prefix = family.keeps_prefix if keeps_prefix is None else keeps_prefix
        self.binding = binding
        self.tokens = PromptTokens(chat, self.wording)
        self.trie = LabelTrie(self.tokens.labels)

    def with_labels(self, emotions: EmotionSet) -> AudioLLM:
        """Return this model with other labels to choose from."""
        return self.worded(emotions, self.wording.with_labels(emotions.names))

    def worded(self, emotions: EmotionSet, wording: Wording) -> AudioLLM:
        """Return this model with other labels and another wording."""
        own = (self.batch, self.keeps_prefix, self.binding)
        return AudioLLM(self.model, self.chat, self.family, emotions, wording, *own)

    @property
    def name(self) -> str:
        return self.chat.name

    @property
    def several_clips(self) -> bool:
        return self.family.several_clips

    def to(self, device: str) -> None:
        """Move the model to a device; quantized weights stay where they were loaded to."""
        if not getattr(self.model, "is_quantized", False):
            self.model.to(device)
        if self.binding is not None:
            self.binding.to(self.model.device)

    def describe(self) -> dict[str, Any]:
        """Return what is asked, for the record."""
        return {"model": self.name}

    @property
    def context(self) -> int | None:
        """How many positions a prompt may take; None where the model does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @torch.inference_mode()
    def read(self, clips: Sequence[np.ndarray], answers: Answers) -> ReadEnrollment:
        """Read enrolled clips, (num_samples,) at 16 kHz each, with their emotions; none is allowed.

        Raises UserError for clips in a model that takes one clip in a prompt, and where the prompt is longer
        than the model's context.
        """
        if clips and not self.several_clips:
            raise UserError(f"'{self.name}' takes one clip in a prompt: it can read no enrolled clips")
        prompt = self.tokens.prompt(answers)
        inputs = self.chat.clip_inputs(clips) if clips else ClipInputs({}, ())
        before = prompt.before_last_clip(inputs.counts)
        self.check_fits(len(before) + len(prompt.parts[-1]), len(clips))
        read = ReadEnrollment(tuple(clips), prompt, inputs.counts, None, answers)
        if not clips or not self.keeps_prefix:
            return read
        ids = torch.tensor([before], device=self.model.device)
        positions = torch.arange(len(before), device=self.model.device)[None]
        with marked(self._marks(prompt.without_last_clip, answers, inputs.counts, query_follows=True)):
            outputs = self._forward(ids, self._on_device(inputs), position_ids=positions)
        return replace(read, prefix=PrefixCache(outputs.past_key_values, len(before)))

    @torch.inference_mode()
    def score(self, enrollment: ReadEnrollment, clips: Sequence[np.ndarray]) -> Tensor:
        """Return the log-probability that each label begins the answer to each of Q clips.

        Float32 (Q, C), not normalized over the labels, on the CPU. Clips do not affect each other.
        """
        scores = torch.zeros(len(clips), len(self.emotions))
        for places in self._batches(enrollment, clips):
            batch = [clips[place] for place in places]
            if enrollment.prefix is None:
                read = self._read_whole(enrollment, batch)
            else:
                read = self._read_after(enrollment.prefix, enrollment.prompt, batch)
            scores[places] = self.trie.scores(self._logits_of_nodes(read)).cpu()
        return scores

    def likeliest(self, clips: Sequence[np.ndarray]) -> str:
        """Return the label that most likely begins the answer to the wording's instruction about these clips.

        Raises UserError for several clips in a model that takes one.
        """
        self._check_clips(len(clips))
        asked = [self.chat.user(self.wording.instruction, *clips)]
        question = ReadEnrollment(tuple(clips[:-1]), self.chat.skeleton(asked, len(clips)), (), None)
        return self.wording.labels[int(self.score(question, clips[-1:]).argmax())]

    @torch.inference_mode()
    def write(self, messages: Sequence[Message], clips: Sequence[np.ndarray], max_new_tokens: int) -> str:
        """Return what the model writes next in a conversation with these clips, by greedy decoding.

        Raises UserError for an enrollment in a model that binds pairs, which are bound for scores alone.
        """
        self._check_clips(len(clips))
        if self.binding is not None and any(message["role"] == "assistant" for message in messages):
            raise UserError(
                f"'{self.name}' was trained with bound pairs, so it scores labels after an enrollment, and "
                "does not write: leave out +text"
            )
        encoded = self.chat.encode([messages], clips)
        features = {name: value for name, value in encoded.items() if name not in TEXT_INPUTS}
        ids = encoded["input_ids"].to(self.model.device)
        self.check_fits(ids.shape[1] + max_new_tokens, None)
        written = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **self._on_device(ClipInputs(features, ())),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        return self.chat.tokenizer.decode(
            written[0, ids.shape[1] :].tolist(), skip_special_tokens=True
        ).strip()

    def _check_clips(self, count: int) -> None:
        if count > 1 and not self.several_clips:
            raise UserError(f"'{self.name}' takes one clip in a prompt, but {count} are asked about")

    def _batches(self, enrollment: ReadEnrollment, clips: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Yield the places of clips that are answered together."""
        places = list(range(len(clips)))
        if enrollment.prefix is None:
            yield from ([place] for place in places)
            return
        groups = [places]
        if not self.family.mixes_lengths:
            places.sort(key=lambda place: len(clips[place]))
            groups = [list(group) for _, group in groupby(places, key=lambda place: len(clips[place]))]
        for group in groups:
            yield from (group[first : first + self.batch] for first in range(0, len(group), self.batch))

    def _read_whole(self, enrollment: ReadEnrollment, clips: Sequence[np.ndarray]) -> ReadQueries:
        """Read one query's prompt from its beginning. All its clips go through the processor together."""
        inputs = self.chat.clip_inputs([*enrollment.clips, *clips])
        before = enrollment.prompt.before_last_clip(inputs.counts[:-1])
        ids = torch.tensor(
            [before + enrollment.prompt.from_last_clip(inputs.counts[-1])], device=self.model.device
        )
        self.check_fits(ids.shape[1], len(enrollment.clips))
        mask = torch.ones_like(ids)
        last = torch.tensor([ids.shape[1] - 1], device=ids.device)
        with marked(self._marks(enrollment.prompt, enrollment.answers, inputs.counts)):
            outputs = self._forward(ids, self._on_device(inputs), attention_mask=mask, keep=last)
        return ReadQueries(outputs.logits[:, -1], outputs.past_key_values, mask, last + 1)

    def _read_after(self, prefix: PrefixCache, prompt: Skeleton, clips: Sequence[np.ndarray]) -> ReadQueries:
        """Read queries after the keys and values of an enrollment."""
        inputs, device = self.chat.clip_inputs(clips), self.model.device
        rows = [torch.tensor(prompt.from_last_clip(count), device=device) for count in inputs.counts]
        own = torch.tensor([len(row) for row in rows], device=device)
        ids = pad_sequence(rows, batch_first=True, padding_value=self._filler)
        count, width = ids.shape
        self.check_fits(prefix.length + width, None)
        mask = (torch.arange(width, device=device) < own[:, None]).to(torch.int64)
        mask = torch.cat([mask.new_ones(count, prefix.length), mask], dim=1)
        kept, place = torch.unique(own - 1, return_inverse=True)
        outputs = self._forward(
            ids,
            self._on_device(inputs),
            attention_mask=mask,
            position_ids=torch.arange(prefix.length, prefix.length + width, device=device).expand(count, -1),
            past_key_values=prefix.copies(count),
            keep=kept,
        )
        rows_of_logits = torch.arange(count, device=device)
        logits = outputs.logits[rows_of_logits, place if self._keeps_logits else own - 1]
        return ReadQueries(logits, outputs.past_key_values, mask, prefix.length + own)

    def _logits_of_nodes(self, read: ReadQueries) -> Tensor:
        """Return the logits after each node of the label trie: (Q, num_nodes, V)."""
        paths = self.trie.paths()
        count = len(read.logits)
        if paths == [()]:
            return read.logits[:, None]
        device = read.logits.device
        tokens = [torch.tensor(path, device=device) for path in paths]
        ids = pad_sequence(tokens, batch_first=True, padding_value=self._filler).repeat(count, 1)
        width = ids.shape[1]
        cache = read.cache
        cache.batch_repeat_interleave(len(paths))
        mask = read.mask.repeat_interleave(len(paths), dim=0)
        outputs = self._forward(
            ids,
            {},
            attention_mask=torch.cat([mask, mask.new_ones(len(mask), width)], dim=1),
            position_ids=read.lengths.repeat_interleave(len(paths))[:, None]
            + torch.arange(width, device=device),
            past_key_values=cache,
        )
        by_path = outputs.logits.unflatten(0, (count, len(paths)))
        nodes = [read.logits]
        for node in self.trie.nodes[1:]:
            path = next(number for number, path in enumerate(paths) if path[: len(node)] == node)
            nodes.append(by_path[:, path, len(node) - 1])
        return torch.stack(nodes, dim=1)

    def logits_at(self, ids: Tensor, inputs: ClipInputs, places: Tensor) -> Tensor:
        """Return the logits (n, V) after the tokens at n places of one prompt (1, T), with gradients."""
        more = {"logits_to_keep": places} if self._keeps_logits else {}
        mask = torch.ones_like(ids)
        outputs = self.model(
            input_ids=ids, attention_mask=mask, use_cache=False, **self._on_device(inputs), **more
        )
        return outputs.logits[0] if more else outputs.logits[0, places]

    def _marks(
        self, prompt: Skeleton, answers: Answers, counts: Sequence[int], query_follows: bool = False
    ) -> Marks | None:
        """Return the marks of a prompt whose pairs are bound, on the model's device; None where none are."""
        if self.binding is None or not answers:
            return None
        batch = collate([expand_audio_tokens(self.tokens.marked(prompt, answers), counts)])
        return Marks.of(batch.to(self.model.device), query_follows=query_follows)

    def _forward(
        self, ids: Tensor, features: dict[str, Tensor], keep: Tensor | None = None, **more: Any
    ) -> Any:
        if keep is not None and self._keeps_logits:
            more["logits_to_keep"] = keep
        return self.model(input_ids=ids, use_cache=True, **features, **more)

    @property
    def _keeps_logits(self) -> bool:
        """Whether logits can be computed at some positions only."""
        return "logits_to_keep" in signature(self.model.forward).parameters

    @property
    def _filler(self) -> int:
        """A token for places that nothing reads; it must not be the audio token."""
        return self.tokens.labels[0][0]

    def _on_device(self, inputs: ClipInputs) -> dict[str, Tensor]:
        return inputs.on(self.model.device, self.model.dtype)

    def check_fits(self, positions: int, pairs: int | None) -> None:
        """Raise UserError for a prompt that is longer than the model's context. `pairs`: how many clips are
        enrolled in it; None where that does not matter."""
        context = self.context
        if context is not None and positions + max(map(len, self.tokens.labels)) > context:
            enrolled = "" if pairs is None else f" of {pairs} enrolled clips"
            raise UserError(
                f"the prompt{enrolled} takes {positions} positions, but the context of "
                f"'{self.name}' has {context}: enroll fewer or shorter clips"
            )


def default_wording(emotions: EmotionSet) -> Wording:
    """Return the wording of a pretrained language model's default prompt."""
    return Wording(default_instruction(emotions.names, " and", chat=True), emotions.names)
