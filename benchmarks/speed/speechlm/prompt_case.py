"""The case that every contender answers with a speech LM: one model, one person's enrollment, queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from benchmarks.speed.speechlm.prompt_presets import PromptPreset
from benchmarks.speed.timing.rounds import Precision
from perser.corpora.readers.iemocap import EMOTIONS
from perser.labels import EmotionSet
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import SpeechLMForICL, new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions, word_tokenizer
from speechlm_icl.scoring.prefix_cache import embed_enrollment

FEATURE_SHAPE = (7, 512)
"""Pooled features (L+1, D) of Whisper base's encoder."""

PROMPT = PromptOptions(
    instruction="You hear clips of speech . After each clip stands what one person heard in it :",
    # Rare words are split, as subword tokenizers do: four labels have two tokens, two of them share a stem.
    label_words={
        "frustrated": "frus trated",
        "disgust": "dis gust",
        "excited": "ex cited",
        "surprise": "ex claimed",
    },
)


@dataclass(frozen=True)
class PromptCase:
    """A speech LM and one person's clips.

    The model is a random Llama with a LoRA adapter, in evaluation mode. On its device are the features of the
    enrollment clips (K, L+1, D), with their answers, and of the queries (Q, L+1, D).
    """

    model: SpeechLMForICL
    enrollment: Tensor
    answers: list[list[int]]
    queries: Tensor
    precision: Precision

    @property
    def device(self) -> torch.device:
        return self.queries.device

    @cached_property
    def prefix(self) -> Tensor:
        """Embeddings (num_positions, H) of the instruction and the pairs, for contenders without a cache."""
        with torch.inference_mode():
            return embed_enrollment(self.model, self.enrollment, self.answers)

    @cached_property
    def frames(self) -> list[Tensor]:
        """Embeddings (num_frames, H) of each query."""
        with torch.inference_mode():
            return [clip.to(self.prefix.dtype) for clip in self.model.projector(self.queries)]


@contextmanager
def make_prompt_case(
    preset: PromptPreset, device: str, precision: Precision = "float32", seed: int = 0
) -> Iterator[PromptCase]:
    """Make a case of random weights and noise for features: speed does not depend on them."""
    disable_progress_bar()  # loading would draw it among the tables
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        emotions = EmotionSet(EMOTIONS)
        write_language_model(preset, PROMPT.texts(emotions), Path(folder))
        model = new_model(
            emotions,
            encoder="tiny-whisper",
            feature_shape=FEATURE_SHAPE,
            language_model=folder,
            lora=LoraOptions(),
            prompt=PROMPT,
            projector=ProjectorOptions(tokens_per_clip=preset.tokens_per_clip),
        ).eval()
        enrollment, queries = (torch.randn(n, *FEATURE_SHAPE) for n in (preset.pairs, preset.queries))
        answers = [[index % len(emotions)] for index in range(preset.pairs)]
        if precision == "bf16":
            model.language_model.to(torch.bfloat16)
        yield PromptCase(model.to(device), enrollment.to(device), answers, queries.to(device), precision)


def write_language_model(preset: PromptPreset, texts: Sequence[str], folder: Path) -> None:
    """Save a random Llama, and a tokenizer of the words in `texts`, as a folder of the kind that the Hub
    gives."""
    word_tokenizer(texts).save_pretrained(folder)
    LlamaForCausalLM(llama_config(preset)).save_pretrained(folder)


def llama_config(preset: PromptPreset) -> LlamaConfig:
    """Return the configuration of a preset's Llama."""
    return LlamaConfig(
        **preset.language_model, tie_word_embeddings=True, max_position_embeddings=8192, pad_token_id=0
    )
