"""The speech language model: a projector that lets a language model hear, and the prompt it reads."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.language_model import (
    LanguageModel,
    LoraOptions,
    load_language_model,
    new_language_model,
)
from speechlm_icl.projector import PooledProjector, ProjectorOptions, splice
from speechlm_icl.prompt import IGNORE, PromptBatch, PromptFormat, PromptOptions

FORMAT = "perser-speech-lm-1"
CONFIG, WEIGHTS = "config.json", "projector.safetensors"
"""What every model folder has."""
TRAINING = "training.json"
"""What a trained one has too: on whom, how, and what validation found."""


class SpeechLanguageModel(nn.Module):
    """Reads prompts in which clips stand as embeddings.

    Args:
        language_model: See `new_language_model`.
        projector: From pooled features (n, L+1, D) to (n, tokens_per_clip, H).
        prompt: Writes the prompts that `forward` reads.
        encoder: Name or folder of the speech encoder whose pooled features the projector expects.
    """

    def __init__(
        self, language_model: LanguageModel, projector: PooledProjector, prompt: PromptFormat, encoder: str
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.projector = projector
        self.prompt = prompt
        self.encoder = encoder

    @property
    def device(self) -> torch.device:
        return self.projector.layer_weights.device

    def embed(self, batch: PromptBatch, features: Tensor | None) -> Tensor:
        """Embeddings (B, T, H) of a batch of prompts and of their clips' features (num_clips, L+1, D), in the
        order of the prompts; None without clips. Raises ValueError where a clip and its places differ."""
        frames = [] if features is None else self.projector(features)
        return splice(self.language_model.embed(batch.token_ids), batch.clips, frames)

    def forward(self, batch: PromptBatch, features: Tensor) -> Tensor:
        """Negative log-likelihood in nats of every target token (B, T), 0 where there is no target."""
        hidden = self.language_model.hidden(
            self.embed(batch, features), batch.attention_mask, batch.position_ids
        )
        # The token at t is predicted from position t - 1; logits are computed at those positions alone.
        predicted = batch.targets[:, 1:] != IGNORE
        logits = self.language_model.logits(hidden[:, :-1][predicted])
        loss = F.cross_entropy(logits.float(), batch.targets[:, 1:][predicted], reduction="none")
        losses = loss.new_zeros(batch.targets.shape)
        losses[:, 1:][predicted] = loss
        return losses

    def save(self, folder: Path) -> None:
        """Write config.json, projector.safetensors and what was trained of the language model."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "format": FORMAT,
            "emotions": list(self.prompt.emotions.names),
            "encoder": portable_name(self.encoder, folder),
            "language_model": portable_name(self.language_model.name, folder),
            "prompt": asdict(self.prompt.options),
            "projector": asdict(self.projector.options),
            "features": list(self.projector.mean.shape),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        save_file(self.projector.state_dict(), folder / WEIGHTS)
        self.language_model.save(folder)

    @classmethod
    def load(cls, folder: Path) -> SpeechLanguageModel:
        """The model of a folder that `save` wrote, in evaluation mode. UserError when it is not one."""
        config = read_config(folder)
        model = _assemble(
            load_language_model(folder, resolve_name(config["language_model"], folder)),
            EmotionSet(tuple(config["emotions"])),
            resolve_name(config["encoder"], folder),
            tuple(config["features"]),
            PromptOptions(**config["prompt"]),
            ProjectorOptions(**config["projector"]),
        )
        model.projector.load_state_dict(load_file(folder / WEIGHTS))
        return model.eval()


def new_model(
    emotions: EmotionSet,
    *,
    encoder: str,
    feature_shape: tuple[int, int],
    language_model: str,
    lora: LoraOptions,
    prompt: PromptOptions,
    projector: ProjectorOptions,
) -> SpeechLanguageModel:
    """An untrained speech language model for pooled features of shape (L+1, D)."""
    language = new_language_model(language_model, prompt.texts(emotions), lora)
    return _assemble(language, emotions, encoder, feature_shape, prompt, projector)


def _assemble(
    language_model: LanguageModel,
    emotions: EmotionSet,
    encoder: str,
    feature_shape: tuple[int, int],
    prompt: PromptOptions,
    projector: ProjectorOptions,
) -> SpeechLanguageModel:
    return SpeechLanguageModel(
        language_model,
        PooledProjector(
            *feature_shape, language_model.hidden_size, language_model.embedding_scale, projector
        ),
        PromptFormat(language_model.tokenizer, emotions, prompt, projector.tokens_per_clip),
        encoder,
    )


def read_config(folder: Path) -> dict:
    """The config of a model folder. UserError when it is missing or of another format."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no speech-LM model in {folder}: train one with `perser icl-train`") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error}): train the model again") from None
    if config.get("format") != FORMAT:
        raise UserError(f"{path} is not of format '{FORMAT}': train the model with this version of perser")
    return config


def portable_name(name: str, folder: Path) -> str:
    """How a model folder names another model: relative to itself where both lie in one run's folder, so that
    the run can be moved; a folder (or a GGUF file) elsewhere by its full path; any other name as it is."""
    target = Path(name)
    if not target.exists():
        return name
    run = folder.resolve().parent.parent
    if target.resolve().is_relative_to(run):
        return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    return str(target.resolve())


def resolve_name(name: str, folder: Path) -> str:
    """The inverse of `portable_name`."""
    return str((folder / name).resolve()) if name.startswith("..") else name
