"""Let a speech language model answer items: in its own words, or with the likeliest of the options."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from benchmarks.dynamic_superb.ask import ItemWithClips
from perser.audio import SAMPLE_RATE
from perser.errors import UserError
from speechlm_icl.model.audio_tokens import expand_audio_tokens
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.prompt.chat_template import PromptTemplate, from_chat_template, plain_template, token_ids
from speechlm_icl.prompt.prompt import IGNORE, TEXT, EncodedPrompt, collate

AnswerMode = Literal["generate", "score"]


class SpeechLMAnswerer:
    """Asks a speech language model in the form that it was trained with.

    The prompt is the item's instruction in place of the model's own, the recordings one after the other, then
    the place of the answer.
    """

    def __init__(
        self, model: SpeechLMForICL, max_new_tokens: int = 32, mode: AnswerMode = "generate"
    ) -> None:
        self.model = model
        self.processor = SpeechLMProcessor.of(model)
        self.tokenizer = model.language_model.tokenizer
        self.max_new_tokens = max_new_tokens
        self.mode = mode
        self._turns = lru_cache(self._new_turns)

    def __call__(self, items: Sequence[ItemWithClips]) -> list[str]:
        """Return one answer for each item. Raises UserError for a prompt longer than the model's context."""
        if self.mode == "score":
            return [self.likeliest(item) for item in items]
        return self.generate(items)

    @torch.inference_mode()
    def generate(self, items: Sequence[ItemWithClips]) -> list[str]:
        """Return what the model writes by greedy decoding, up to the end of its turn."""
        prompts = [self._expanded(item, self._prompt(item), self.max_new_tokens) for item in items]
        batch = collate(prompts).to(self.model.device)
        ids = batch.token_ids.masked_fill(batch.clips != TEXT, self.model.config.audio_token_id)
        stops = self._stops()
        written = self.model.generate(
            ids,
            batch.attention_mask,
            **self._waveforms(items),
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            eos_token_id=stops,
        )
        answers = [_before_stop(row, stops) for row in written[:, ids.shape[1] :].tolist()]
        return [self.tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers]

    @torch.inference_mode()
    def likeliest(self, item: ItemWithClips) -> str:
        """Return the option that has the highest probability of being the whole answer."""
        options = item.item.options
        prompts = [self._prompt(item, option) for option in options]
        for prompt in prompts:
            self._expanded(item, prompt)
        heard = self.model.encode_clips(**self._waveforms([item]))
        several = list(heard) * len(options)
        features = torch.stack(several) if isinstance(heard, Tensor) else several
        losses = self.model.losses(self.model.batch(prompts, features), features)
        return options[int(losses.sum(dim=1).argmin())]

    def _prompt(self, item: ItemWithClips, option: str | None = None) -> EncodedPrompt:
        """Return the prompt with one position for each clip; an option is the answer to be predicted."""
        turns = self._turns(item.item.instruction)
        start, clips = list(turns.start), list(range(len(item.clips)))
        answer = [] if option is None else [*self._option_tokens(option), *turns.end]
        after = len(turns.cue) + len(answer)
        unbound = [TEXT] * (len(start) + len(clips) + after)
        return EncodedPrompt(
            token_ids=[*start, *(0 for _ in clips), *turns.cue, *answer],
            clips=[*(TEXT for _ in start), *clips, *[TEXT] * after],
            answers=unbound,
            ends=unbound,
            targets=[*[IGNORE] * (len(start) + len(clips) + len(turns.cue)), *answer],
        )

    def _new_turns(self, instruction: str) -> PromptTemplate:
        options = self.model.prompt.options
        if options.chat:
            return from_chat_template(self.tokenizer, instruction)
        return plain_template(self.tokenizer, f"{instruction}\n", options.separator)

    def _option_tokens(self, option: str) -> list[int]:
        tokens = token_ids(self.tokenizer, f" {option}")  # as the training prompts write their labels
        if not tokens or self.tokenizer.unk_token_id in tokens:
            raise UserError(f"the language model's tokenizer cannot write the option '{option}'")
        return tokens

    def _expanded(self, item: ItemWithClips, prompt: EncodedPrompt, new_tokens: int = 0) -> EncodedPrompt:
        """Return the prompt with as many positions for each clip as the clip has tokens.

        Raises UserError where prompt and `new_tokens` exceed the context.
        """
        expanded = expand_audio_tokens(prompt, [self.processor.num_tokens(len(clip)) for clip in item.clips])
        length, context = len(expanded.token_ids) + new_tokens, self.model.language_model.context
        if context is not None and length > context:
            raise UserError(
                f"{item.item.file}: prompt and answer take {length} positions, but the language model's "
                f"context has {context}"
            )
        return expanded

    def _waveforms(self, items: Sequence[ItemWithClips]) -> dict[str, Tensor]:
        clips = [clip.numpy() for item in items for clip in item.clips]
        padded = self.processor.feature_extractor(
            clips, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt"
        )
        return {"input_values": padded.input_values, "audio_mask": padded.attention_mask}

    def _stops(self) -> list[int]:
        """Return the tokens that end an answer: the prompt's, and the language model's own."""
        own = self.model.language_model.causal.generation_config.eos_token_id
        return [self.model.prompt.template.end[-1], *([own] if isinstance(own, int) else own or [])]


def _before_stop(tokens: list[int], stops: Sequence[int]) -> list[int]:
    ends = [place for place, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0]] if ends else tokens
