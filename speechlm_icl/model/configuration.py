"""The configuration of a speech language model: the content of its checkpoint's config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from perser.errors import UserError, explain_damage

CONFIG = "config.json"

FORMAT = "perser-speech-lm-2"


class SpeechLMConfig(PreTrainedConfig):
    """Names of the models that a checkpoint needs, and the options of its prompts and projector.

    Args:
        format: Format of the checkpoint's files.
        emotions: The emotion set, in its order.
        encoder: Speech encoder: a local folder, a Hub name or a `tiny-...` name.
        encoder_revision: Revision of the encoder where it is known (see `revisions.revision_of`).
        language_model: `tiny-llama`, a local folder or a Hub name.
        language_model_revision: Revision of the language model where it is known.
        feature_shape: (L+1, D) of the encoder's hidden states.
        prompt: Fields of `PromptOptions`.
        projector: Fields of `ProjectorOptions`.
        lora: Fields of `LoraOptions`.
        audio_token_id: Id of the audio token in `input_ids`. The language model has no embedding of it.
    """

    model_type = "speech-lm-icl"

    format: str = FORMAT
    emotions: list[str] | None = None
    encoder: str = "tiny-whisper"
    encoder_revision: str | None = None
    language_model: str = "tiny-llama"
    language_model_revision: str | None = None
    feature_shape: list[int] | None = None
    prompt: dict[str, Any] | None = None
    projector: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    audio_token_id: int | None = None


def read_config(folder: Path) -> SpeechLMConfig:
    """Return the config of a model folder.

    Raises UserError where it is missing, damaged, or of another kind or format.
    """
    path = folder / CONFIG
    with explain_damage(str(path), "train the model again"):
        if not path.exists():
            raise UserError(f"no speech-LM model in {folder}: train one with `perser icl-train`")
        content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not of format '{FORMAT}': train the model with this version of perser")
    with explain_damage(str(path), "train the model again"):
        config = SpeechLMConfig.from_dict(content)
    if not (isinstance(config.encoder, str) and isinstance(config.language_model, str)):
        raise UserError(
            f"{path} is damaged (encoder and language_model must be names): train the model again"
        )
    return config
