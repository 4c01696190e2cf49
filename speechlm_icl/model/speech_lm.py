r"""The speech language model: a language model that reads clips in its prompts, through a projector.

folder = "runs/quickstart/models/speech-lm"
model = SpeechLMForICL.from_pretrained(folder)
processor = SpeechLMProcessor.from_pretrained(folder)
text, clips = "<|audio|> happy\n<|audio|>", [enrolled_clip, query_clip]
inputs = processor(text=text, audio=clips, return_tensors="pt")
loss = model(**inputs, labels=inputs.input_ids).loss
words = model.generate(**inputs, max_new_tokens=4)[:, inputs.input_ids.shape[1] :]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import ModelOutput

from perser.device import MAKING_A_MODEL, outside_compilation
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import encode_clips
from perser.encoders.moments import blended_moments
from perser.encoders.structure_copy import structure_copy
from perser.errors import UserError
from perser.inference.clips import waveforms_of
from perser.labels import EmotionSet
from perser.starter import check_weights
from speechlm_icl.model.audio_tokens import (
    clip_at_each_position,
    expand_audio_tokens,
    insert_audio,
    mask_labels,
    pad_left,
    with_audio_token,
)
from speechlm_icl.model.binding import PairBinding, find_answers
from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.language_model import LanguageModel, LoraOptions, new_language_model
from speechlm_icl.model.revisions import check_revision, commit_of, revision_of
from speechlm_icl.model.saved_model import CheckpointMixin
from speechlm_icl.projectors import new_projector
from speechlm_icl.projectors.base import Clips, ProjectorOptions, ProjectorSizes
from speechlm_icl.prompt.drawn_words import drawable_words
from speechlm_icl.prompt.open_labels import open_prompt, reworded_prompt
from speechlm_icl.prompt.prompt import (
    IGNORE,
    EncodedPrompt,
    PromptBatch,
    PromptFormat,
    PromptOptions,
    collate,
    positions,
)


class SpeechLMForICL(CheckpointMixin, PreTrainedModel):
    """A language model that reads prompts of text tokens and clips, each clip as a few embeddings.

    It has two interfaces. `forward` and `generate` take the inputs that `SpeechLMProcessor` makes of text and
    recordings. `batch`, `embed` and `losses` take prompts that `self.prompt` encoded, and cached features.

    Args:
        config: See `SpeechLMConfig`.
        language_model: The trained language model; a new one is built from the config when None.
    """

    config_class = SpeechLMConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("text", "audio")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: SpeechLMConfig, language_model: LanguageModel | None = None) -> None:
        super().__init__(config)
        if not config.emotions or not config.feature_shape:
            missing = ", ".join(name for name in ("emotions", "feature_shape") if not getattr(config, name))
            raise ValueError(f"SpeechLMConfig: no {missing}: a speech LM needs emotions and feature_shape")
        emotions = EmotionSet(tuple(config.emotions))
        prompt = PromptOptions(**{"bind": False} | (config.prompt or {}))  # older models know no binding
        if language_model is None:
            lora = LoraOptions(**config.lora or {})
            language_model = new_language_model(config.language_model, prompt.texts(emotions), lora)
        self.language_model = language_model
        layers, width = config.feature_shape
        sizes = ProjectorSizes(layers, width, language_model.hidden_size, language_model.embedding_scale)
        self.projector = new_projector(sizes, ProjectorOptions(**config.projector or {}))
        self.binding = PairBinding(language_model.hidden_size) if prompt.bind else None
        self.prompt = self.trained_prompt = PromptFormat(language_model.tokenizer, emotions, prompt)
        config.prompt = asdict(self.prompt.options)  # with what depends on the language model resolved
        _, config.audio_token_id = with_audio_token(language_model.tokenizer)
        self.post_init()

    def init_weights(self) -> None:
        """Do nothing: language model and projector initialize their own weights."""

    @classmethod
    def can_generate(cls) -> bool:
        return True

    @property
    def device(self) -> torch.device:
        return self.projector.layer_weights.device

    @property
    def matched(self) -> bool:
        """Whether clips are also matched with the enrolled ones by the encoder's own features."""
        return bool(getattr(self.config, "matched", False))

    @property
    def other_label(self) -> str | None:
        """The word for a clip that has none of the prompt's labels; None if it was not trained to say it."""
        return self.prompt.options.other if getattr(self.config, "other_answers", False) else None

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.causal.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.causal.get_output_embeddings()

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """The frozen encoder that the config names, on the model's device; loaded at first use.

        It is no submodule of the model, so that `.to` alone does not move it. Raises UserError where the name
        now refers to another encoder than in training.
        """
        encoder = vars(self).get("_loaded_encoder")
        if encoder is None or encoder.model.device != self.device:
            with MAKING_A_MODEL:
                encoder = self._loaded_encoder
                # An encoder that is in place is left alone: `.to` would write to it while others compute.
                if encoder.model.device != self.device:
                    encoder.to(self.device)
        return encoder

    @cached_property
    def _loaded_encoder(self) -> SpeechEncoder:
        commit = commit_of(self.config.encoder_revision)
        if commit is None:
            check_revision(self.config.encoder, self.config.encoder_revision, "speech encoder")
        encoder = SpeechEncoder.from_name(self.config.encoder, commit=commit).requires_grad_(False)
        # Starter models have it, because their encoder may come from a folder or from the Hub.
        if (wanted := getattr(self.config, "encoder_fingerprint", None)) is not None:
            check_weights(self.config.encoder, encoder.fingerprint("all"), wanted)
        shape = (encoder.num_layers + 1, encoder.hidden_size)
        if shape != tuple(self.config.feature_shape):
            raise UserError(
                f"the speech encoder '{self.config.encoder}' gives features of shape {shape}, this model "
                f"reads {tuple(self.config.feature_shape)}: it was trained with another encoder"
            )
        return encoder

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        audio_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits, and the loss where there are labels, as any causal language model of transformers.

        Args:
            input_ids: int64 (B, T), with `config.audio_token_id` at the expanded placeholders of the clips.
            attention_mask: (B, T), 0 on padding, which may be on either side.
            input_values: Waveforms at 16 kHz (num_clips, num_samples), prompt by prompt.
            audio_mask: (num_clips, num_samples), 1 on real samples.
            position_ids: (B, T); counted over real tokens when None.
            inputs_embeds: (B, T, H); replaces `input_ids`, `input_values` and `audio_mask`.
            labels: (B, T), -100 where nothing is predicted. Audio and padding are never predicted.
            **options: Those of the language model's own forward (`past_key_values`, `logits_to_keep`, ...).
        """
        inputs = inputs_embeds if input_ids is None else input_ids
        if inputs is None:
            raise ValueError("give input_ids or inputs_embeds")
        if attention_mask is None:
            attention_mask = torch.ones(inputs.shape[:2], dtype=torch.int64, device=inputs.device)
        if labels is not None:
            audio = None if input_ids is None else input_ids == self.config.audio_token_id
            labels = mask_labels(labels, attention_mask, audio)
        if inputs_embeds is None:
            inputs_embeds = self.embed_inputs(inputs, input_values, audio_mask)
        if position_ids is None:
            position_ids = positions(attention_mask)[:, -inputs_embeds.shape[1] :]
        return self.language_model.causal(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            **options,
        )

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        audio_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor | ModelOutput:
        """Let the language model continue the prompts.

        Args:
            input_ids, attention_mask, input_values, audio_mask: See `forward`.
            **options: Those of transformers' `generate`. By default an answer ends at the language model's
                own end token, or at the token that ends answers in the prompts.

        Returns the prompts (padded on the left) and the new tokens, int64 (B, T + num_new), as transformers'
        `generate` does; or its output object with `return_dict_in_generate`.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        causal, tokenizer = self.language_model.causal, self.language_model.tokenizer
        input_ids, attention_mask = pad_left(input_ids, attention_mask)
        eos = causal.generation_config.eos_token_id
        ends = eos if isinstance(eos, list) else [] if eos is None else [eos]
        options.setdefault("eos_token_id", list(dict.fromkeys([*ends, self.prompt.template.end[-1]])))
        if causal.generation_config.pad_token_id is None and tokenizer.pad_token_id is not None:
            options.setdefault("pad_token_id", tokenizer.pad_token_id)
        audio = input_ids == self.config.audio_token_id
        output = causal.generate(
            input_ids=input_ids.masked_fill(audio, 0),  # logits processors read these: 0 is in the vocabulary
            inputs_embeds=self.embed_inputs(input_ids, input_values, audio_mask),
            attention_mask=attention_mask,
            **options,
        )
        sequences = output.sequences if isinstance(output, ModelOutput) else output
        copies = len(sequences) // len(input_ids)
        sequences[:, : input_ids.shape[1]] = input_ids.repeat_interleave(copies, dim=0)
        return output

    def embed_inputs(
        self, input_ids: Tensor, input_values: Tensor | None = None, audio_mask: Tensor | None = None
    ) -> Tensor:
        """Return the embeddings (B, T, H) of prompts, with those of the clips at their placeholders.

        Raises UserError where placeholders and clips do not match.
        """
        audio = input_ids == self.config.audio_token_id
        embeddings = self.language_model.embed(input_ids.masked_fill(audio, 0))
        frames = [] if input_values is None else self.projector(self.encode_clips(input_values, audio_mask))
        try:
            clips = clip_at_each_position(audio, [len(clip) for clip in frames])
        except ValueError as error:
            raise UserError(f"{error}: let the processor expand one placeholder for each clip") from error
        inserted = insert_audio(embeddings, clips, frames)
        if self.binding is None:
            return inserted
        return self.binding(inserted, frames, clips, *find_answers(input_ids, clips, self.prompt.template))

    @outside_compilation
    def encode_clips(self, input_values: Tensor, audio_mask: Tensor | None = None) -> Clips:
        """Map waveforms (num_clips, num_samples) to the features that the projector reads.

        Raises UserError for a clip that cannot be used.
        """
        masks = torch.ones_like(input_values) if audio_mask is None else audio_mask
        clips = [values[mask.bool()] for values, mask in zip(input_values, masks, strict=True)]
        waveforms = waveforms_of(clips, min_seconds=0.0)
        features = encode_clips(self.speech_encoder, waveforms, self.projector.options.level)
        return torch.stack(features) if self.projector.options.level == "pooled" else features

    def with_labels(self, labels: EmotionSet) -> SpeechLMForICL:
        """Return this model with other labels in its prompts; it shares all weights.

        Raises UserError for labels that its language model cannot read.
        """
        copy = structure_copy(self, ())
        copy.prompt = open_prompt(self.language_model.tokenizer, self.prompt, labels, self.label_word_pool)
        return copy

    def worded(self, instruction: str | None, words: Mapping[str, str]) -> SpeechLMForICL:
        """Return this model with another instruction (None: its own) and other label words.

        It shares all weights. Raises UserError for words that its language model cannot read.
        """
        copy = structure_copy(self, ())
        copy.prompt = reworded_prompt(self.language_model.tokenizer, self.prompt, instruction, words)
        return copy

    def standardized_by(self, clips: Iterable[Tensor], prior_clips: float) -> SpeechLMForICL:
        """Return this model with features standardized by other clips; it shares all other weights.

        Args:
            clips: Features of each clip, (L + 1, D) or (num_windows, L + 1, D).
            prior_clips: How many clips its own standardization counts as much as.
        """
        own = self.projector
        return self.standardized(*blended_moments(clips, own.mean, own.std, prior_clips))

    def standardized(self, mean: Tensor, std: Tensor) -> SpeechLMForICL:
        """Return this model with another standardization, (L + 1, D) each; it shares all other weights."""
        copy = structure_copy(self, ("projector",))
        own = copy.projector
        own.mean, own.std = mean.to(own.mean), std.to(own.std)
        return copy

    @cached_property
    def label_word_pool(self) -> list[str]:
        """The words that can be drawn as labels in training; none for a model whose pairs are not bound."""
        if self.binding is None:
            return []
        return drawable_words(self.language_model.tokenizer, self.prompt.options.words(self.prompt.emotions))

    def batch(self, prompts: Sequence[EncodedPrompt], features: Clips | None) -> PromptBatch:
        """Return a batch of prompts with expanded placeholders, on the model's device.

        Args:
            prompts: From `self.prompt.encode`.
            features: Features of their clips, prompt by prompt; None where there are no clips.

        Raises ValueError where the prompts have placeholders for another number of clips.
        """
        lengths = [] if features is None else self.projector.lengths(features)
        expanded, first = [], 0
        for prompt in prompts:
            following = first + max(prompt.clips, default=-1) + 1
            expanded.append(expand_audio_tokens(prompt, lengths[first:following]))
            first = following
        if first != len(lengths):
            raise ValueError(
                f"the prompts have placeholders for {first} clips, but {len(lengths)} were given"
            )
        return collate(expanded).to(self.device)

    def embed(self, batch: PromptBatch, features: Clips | None, query_follows: bool = False) -> Tensor:
        """Return the embeddings (B, T, H) of a batch from `batch` and the features it was made with.

        `query_follows` says that the prompts are enrollments; see `PairBinding`.

        Raises ValueError where a clip has more or fewer placeholders than embeddings.
        """
        frames = [] if features is None else self.projector(features)
        embeddings = insert_audio(self.language_model.embed(batch.token_ids), batch.clips, frames)
        if self.binding is None:
            return embeddings
        return self.binding(embeddings, frames, batch.clips, batch.answers, batch.ends, query_follows)

    def losses(self, batch: PromptBatch, features: Clips | None) -> Tensor:
        """Return the negative log-likelihood in nats of every target token (B, T); 0 where there is none."""
        hidden = self.language_model.hidden(
            self.embed(batch, features), batch.attention_mask, batch.position_ids
        )
        # The token at t is predicted from position t - 1. Logits are computed only at those positions.
        predicted = batch.targets[:, 1:] != IGNORE
        logits = self.language_model.logits(hidden[:, :-1][predicted])
        loss = F.cross_entropy(logits.float(), batch.targets[:, 1:][predicted], reduction="none")
        losses = loss.new_zeros(batch.targets.shape)
        losses[:, 1:][predicted] = loss
        return losses


def new_model(
    emotions: EmotionSet,
    *,
    encoder: str,
    feature_shape: tuple[int, int],
    language_model: str,
    lora: LoraOptions,
    prompt: PromptOptions,
    projector: ProjectorOptions,
) -> SpeechLMForICL:
    """Return an untrained speech language model.

    Args:
        emotions: The emotion set.
        encoder: Name of the speech encoder.
        feature_shape: (L+1, D) of its hidden states.
        language_model: Name of the language model.
        lora: The language model's adapter.
        prompt: Wording of the prompts.
        projector: How a clip becomes embeddings.
    """
    config = SpeechLMConfig(
        emotions=list(emotions.names),
        encoder=encoder,
        encoder_revision=revision_of(encoder),
        language_model=language_model,
        feature_shape=list(feature_shape),
        prompt=asdict(prompt),
        projector=asdict(projector),
        lora=asdict(lora),
    )
    model = SpeechLMForICL(config)
    config.language_model_revision = revision_of(language_model)  # in the Hub's local cache by now
    return model
