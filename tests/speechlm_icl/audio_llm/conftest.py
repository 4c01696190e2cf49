"""Tiny audio LLMs, clips that differ, and an oracle: a plain forward pass of each full prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from perser.labels import EmotionSet
from speechlm_icl.audio_llm.chat import _wav
from speechlm_icl.audio_llm.loading import load_audio_llm
from speechlm_icl.audio_llm.model import AudioLLM

from .tiny_families import NEEDS, save_tiny

EMOTIONS = EmotionSet(("angry", "happy", "sad"))


def clip(seed: int, seconds: float) -> np.ndarray:
    """Return a sum of three gliding tones (num_samples,) at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    tones = sum(np.sin(2 * np.pi * pitch * time * (1 + 0.3 * time)) for pitch in rng.uniform(100, 6000, 3))
    return (rng.uniform(0.02, 0.2) * tones).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns the folder of a family's tiny checkpoint; it is made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        for package in NEEDS.get(family, ()):
            pytest.importorskip(package, reason=f"{family} needs {package}, which is not installed")
        if family not in made:
            made[family] = save_tiny(family, tmp_path_factory.mktemp("audio-llm") / family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def tiny_llm(tiny_folder: Callable[[str], Path]) -> Callable[[str], AudioLLM]:
    """Return a function that returns a family's tiny model with three labels; it is loaded once."""
    loaded: dict[str, AudioLLM] = {}

    def llm(family: str) -> AudioLLM:
        if family not in loaded:
            loaded[family] = load_audio_llm(tiny_folder(family), EMOTIONS)
        return loaded[family]

    return llm


def plain_scores(
    llm: AudioLLM, clips: Sequence[np.ndarray], answers: Sequence[Sequence[int]], query: np.ndarray
) -> torch.Tensor:
    """Return the log-probability of each label's tokens after a full prompt: (C,).

    The whole conversation goes through the processor's own `apply_chat_template`, and each label through one
    forward pass of the model, without a cache.
    """
    processor, text_only = llm.chat.processor, not llm.chat.takes_text
    messages = []
    for number, (samples, answer) in enumerate(zip([*clips, query], [*answers, None], strict=True)):
        audio = {"type": "audio", **({"base64": _wav(samples)} if text_only else {"audio": samples})}
        text = [] if number else [{"type": "text", "text": llm.wording.instruction}]
        messages.append({"role": "user", "content": [*text, audio]})
        if answer is not None:
            said = llm.wording.answer(answer)
            messages.append(
                {"role": "assistant", "content": said if text_only else [{"type": "text", "text": said}]}
            )
    options = {} if text_only else {"chat_template": llm.chat.template, "add_generation_prompt": True}
    encoded = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", **options
    )
    prompt = {name: torch.as_tensor(value) for name, value in encoded.items()}
    length = prompt["input_ids"].shape[1]
    scores = []
    for label in llm.tokens.labels:
        tokens = torch.tensor([label])
        inputs = dict(prompt, input_ids=torch.cat([prompt["input_ids"], tokens], dim=1))
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        for name in {"token_type_ids", "mm_token_type_ids"} & inputs.keys():
            inputs[name] = torch.cat([inputs[name], torch.zeros_like(tokens)], dim=1)
        with torch.inference_mode():
            logits = llm.model(**inputs).logits[0].log_softmax(dim=-1)
        scores.append(sum(logits[length - 1 + place, token] for place, token in enumerate(label)))
    return torch.stack(scores)
