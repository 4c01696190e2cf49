"""The processor: turn text and recordings into the inputs of `SpeechLMForICL`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from transformers import (
    BatchFeature,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    SequenceFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

from perser.audio import SAMPLE_RATE
from perser.encoders.family import FrameCount
from perser.errors import UserError
from perser.inference.clips import Clip, waveforms_of
from speechlm_icl.model.audio_tokens import AUDIO_TOKEN, with_audio_token
from speechlm_icl.projectors.base import ProjectorOptions

if TYPE_CHECKING:
    from speechlm_icl.model.speech_lm import SpeechLMForICL

_tokenizing = threading.Lock()
"""Held while a tokenizer encodes. It stores how it pads and cuts texts, and other threads may ask for another
way."""


class SpeechLMProcessor(ProcessorMixin):
    """Prepares prompts that hold one `<|audio|>` for each clip: `processor(text=..., audio=...)`.

    Args:
        feature_extractor: Pads waveforms. The model itself applies the encoder's feature extraction.
        tokenizer: The language model's tokenizer, with the audio token.
        frame_count: Fields of the encoder's `FrameCount`.
        projector: Fields of the model's `ProjectorOptions`.
        audio_token: Placeholder of a clip in a text.
        chat_template: Chat template; the tokenizer's own when None.
    """

    audio_kwargs: ClassVar[dict[str, Any]] = {"sampling_rate": SAMPLE_RATE}
    text_kwargs: ClassVar[dict[str, Any]] = {"padding": True, "padding_side": "left"}  # for generation

    def __init__(
        self,
        feature_extractor: SequenceFeatureExtractor,
        tokenizer: PreTrainedTokenizerBase,
        frame_count: dict[str, Any],
        projector: dict[str, Any],
        audio_token: str = AUDIO_TOKEN,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template or tokenizer.chat_template)
        self.frame_count = frame_count
        self.projector = projector
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> SpeechLMProcessor:
        """Load a saved processor as transformers does, but without running code from the folder."""
        return super().from_pretrained(name, **({"trust_remote_code": False} | options))

    @classmethod
    def of(cls, model: SpeechLMForICL) -> SpeechLMProcessor:
        """Return the processor of a model. Loads the model's speech encoder."""
        extractor = Wav2Vec2FeatureExtractor(
            sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
        )
        tokenizer, _ = with_audio_token(model.language_model.tokenizer)
        frame_count = asdict(model.speech_encoder.frame_count)
        return cls(extractor, tokenizer, frame_count, asdict(model.projector.options))

    def __call__(
        self,
        text: str | Sequence[str],
        audio: Clip | Iterable[Clip] | None = None,
        **options: Any,
    ) -> BatchFeature:
        """Return token ids with each clip's placeholder expanded, waveforms, and their masks.

        Args:
            text: One prompt or several.
            audio: Recordings in the order of their placeholders, prompt by prompt, in one list, in any form
                that `perser.audio.load_audio` takes. A single recording need not be in a list.
            **options: Those of every processor: `return_tensors="pt"`, `padding`, `sampling_rate`, ...

        Raises UserError where clips and placeholders differ in number, and for a clip that cannot be used.
        """
        texts = [text] if isinstance(text, str) else list(text)
        clips = [] if audio is None else [waveform.numpy() for waveform in waveforms_of(audio)]
        placeholders = sum(prompt.count(self.audio_token) for prompt in texts)
        if placeholders != len(clips):
            raise UserError(
                f"the text has placeholders for {placeholders} clips ({self.audio_token}), "
                f"but {len(clips)} were given"
            )
        with _tokenizing:
            return super().__call__(text=texts, audio=clips or None, **options)

    def num_tokens(self, num_samples: int) -> int:
        """Return how many positions of the prompt a clip of `num_samples` samples takes."""
        frames = FrameCount(**self.frame_count)(num_samples)
        return ProjectorOptions(**self.projector).num_tokens(frames)

    def _process_audio(self, audio: list[np.ndarray], **options: Any) -> tuple[dict[str, Any], list[str]]:
        """Return the model's audio inputs and each placeholder's replacement (a hook of transformers)."""
        padded = self.feature_extractor(audio, **(options | {"padding": True}))
        inputs = {"input_values": padded.input_values, "audio_mask": padded.attention_mask}
        return inputs, [self.audio_token * self.num_tokens(len(clip)) for clip in audio]
