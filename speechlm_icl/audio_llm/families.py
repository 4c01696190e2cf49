"""The families of audio LLMs, and what the processor of each allows.

Everything here was found by running a tiny random checkpoint of each family with its real processor;
`tests/speechlm_icl/audio_llm/test_families.py` runs them again. This module imports neither torch nor
transformers, so that a model is refused before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perser.errors import UserError, require_package

METHOD = "audio-llm"
"""The name of the method and of its route."""

TRAINED = "audio_llm.json"
"""The file that every folder of a meta-trained audio LLM has."""

EXTRAS = {"torchvision": "audio-llm", "timm": "audio-llm", "mistral_common": None}
"""Packages that some families need, and the extra of perser that installs them. mistral-common is in none:
for Python 3.11 and 3.12, it wants a numpy that is older than the tested one."""

DEFAULT_EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""What answers choose from where nobody says it: such a model was not trained on any set of emotions."""

TEXT = "text"
"""The option of a method's name that reads labels out of what the model writes."""

WITHOUT = ("matched", "other")
"""Options of speech-lm that an audio LLM lacks: it has no features to match
clips by, and was not trained to answer `other`."""


@dataclass(frozen=True)
class AudioFamily:
    """One family of audio LLMs.

    Args:
        model_class: The class of transformers that answers in text.
        several_clips: Whether a prompt may hold more than one clip.
        keeps_prefix: Whether the keys and values of an enrollment can be kept for all queries. Where clips
            change with the padding that other clips of the prompt give them, they cannot: every prompt is
            read from its beginning.
        mixes_lengths: Whether clips of different lengths can follow a kept enrollment in one batch; else only
            clips of one length can.
        seconds: How much of a clip is heard; what follows is cut off. None for all of it.
        tokens: What a clip takes in the prompt.
        packages: Packages that its processor or model needs.
        takes_text: Whether the processor takes the rendered text and the clips; else it takes the messages.
        audio_parts: Names of the modules from a clip to the embeddings that the language model reads.
        merges_in: Name of the decoder's module that puts the clips among the words; empty where the decoder
            is given both together.
    """

    model_class: str
    several_clips: bool = True
    keeps_prefix: bool = True
    mixes_lengths: bool = True
    seconds: float | None = 30.0
    tokens: str = "25 a second"
    packages: tuple[str, ...] = ()
    takes_text: bool = True
    audio_parts: tuple[str, ...] = ("audio_tower", "multi_modal_projector", "embed_audio")
    merges_in: str = ""


_QWEN2_5_OMNI = AudioFamily("Qwen2_5OmniThinkerForConditionalGeneration", packages=("torchvision",))
_QWEN3_OMNI = AudioFamily(
    "Qwen3OmniMoeThinkerForConditionalGeneration",
    keeps_prefix=False,
    seconds=None,
    tokens="13 a second",
    packages=("torchvision",),
)

FAMILIES: dict[str, AudioFamily] = {
    "qwen2_audio": AudioFamily("Qwen2AudioForConditionalGeneration"),
    "qwen2_5_omni": _QWEN2_5_OMNI,
    "qwen2_5_omni_thinker": _QWEN2_5_OMNI,
    "qwen3_omni_moe": _QWEN3_OMNI,
    "qwen3_omni_moe_thinker": _QWEN3_OMNI,
    "voxtral": AudioFamily(
        "VoxtralForConditionalGeneration",
        seconds=None,
        tokens="375 for each 30 s that it begins",
        packages=("mistral_common",),
        takes_text=False,
    ),
    "granite_speech": AudioFamily(
        "GraniteSpeechForConditionalGeneration",
        keeps_prefix=False,
        seconds=None,
        tokens="10 a second",
        audio_parts=("encoder", "projector"),
    ),
    "gemma3n": AudioFamily(
        "Gemma3nForConditionalGeneration",
        keeps_prefix=False,
        tokens="188",
        packages=("torchvision", "timm"),
    ),
    "gemma4": AudioFamily("Gemma4ForConditionalGeneration", mixes_lengths=False, packages=("torchvision",)),
    "audioflamingo3": AudioFamily(
        "AudioFlamingo3ForConditionalGeneration",
        several_clips=False,
        keeps_prefix=False,
        seconds=600.0,
    ),
    "phi4_multimodal": AudioFamily(
        "Phi4MultimodalForCausalLM",
        keeps_prefix=False,
        seconds=None,
        tokens="13 a second",
        packages=("torchvision",),
        audio_parts=("audio_embed",),
        merges_in="embed_tokens_extend",
    ),
}
"""By `model_type` of a model's config.json."""


def is_audio_llm(config: Mapping[str, Any] | None) -> bool:
    """Return whether a config.json is that of a family that is known here."""
    return config is not None and "emotions" not in config and config.get("model_type") in FAMILIES


def family_of_config(config: Mapping[str, Any], name: str) -> AudioFamily:
    """Return the family of a model by its config.json.

    Raises UserError for a model of another kind, and for packages that are missing.
    """
    model_type = config.get("model_type")
    if not is_audio_llm(config):
        known = ", ".join(dict.fromkeys(FAMILIES))
        raise UserError(
            f"'{name}' is a model of type '{model_type}', which is no audio LLM that can be used here: "
            f"give one of type {known}"
        )
    family = FAMILIES[str(model_type)]
    for package in family.packages:
        require_package(package, EXTRAS[package], f"'{name}' ({model_type})")
    return family


def split_text(options: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether `+text` is among the options of a method's name, and the other options."""
    others = list(options)
    if TEXT in others:
        others.remove(TEXT)
    return len(others) < len(options), others


def check_pairs(several_clips: bool, name: str, pairs: int | None) -> None:
    """Raise UserError for enrolled pairs where a prompt may hold one clip alone. `pairs`: None for all."""
    if not several_clips and pairs != 0:
        raise UserError(
            f"'{name}': its processor takes one clip in a prompt, so it can read no enrolled clips: "
            f"measure audio-llm:{name}-0, or another model"
        )


def check_reads_enrollment(several_clips: bool, name: str) -> None:
    """Raise UserError for a model that cannot read enrolled clips, because a prompt may hold one alone."""
    if not several_clips:
        raise UserError(
            f"'{name}' takes one clip in a prompt, so it cannot read an enrollment: use another model"
        )
