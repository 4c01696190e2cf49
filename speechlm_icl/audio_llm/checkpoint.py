"""Load the checkpoint of an audio LLM: its processor and its weights, and no code of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoProcessor, PreTrainedModel

from perser.device import loading_on
from perser.encoders.loading import check_rate, explain_loading, quiet_transformers, refuse_missing
from perser.errors import UserError
from perser.io.hub import refuse_pickles
from perser.io.json_files import read_json
from speechlm_icl.audio_llm.chat import Chat
from speechlm_icl.audio_llm.families import AudioFamily, family_of_config
from speechlm_icl.model.base_model import (
    BaseWeights,
    check_quantized,
    check_targets,
    disable_cpu_repacking,
    number_format,
)
from speechlm_icl.model.language_model import LoraOptions

KIND = "audio LLM"


def check_checkpoint(folder: Path, name: str) -> AudioFamily:
    """Return the family of the model in a folder. Raises UserError for a model of another kind, or one whose
    weights can run code. Loads nothing."""
    config = read_json(folder / "config.json")
    if config is None:
        raise UserError(f"'{name}' is not an {KIND}: {folder} has no config.json that can be read")
    family = family_of_config(config, name)
    refuse_pickles(folder, KIND)
    return family


def load_checkpoint(
    folder: Path, name: str, device: str, weights: BaseWeights | None = None
) -> tuple[PreTrainedModel, Chat, AudioFamily]:
    """Return the model in a folder, in evaluation mode, its processor and its family.

    Args:
        folder: The folder.
        name: Of the model, for messages.
        device: Where it computes.
        weights: Number format of its weights; None: as they are saved. Of an audio LLM with quantized
            weights, the audio tower and the projector are not quantized.

    Raises UserError as `check_checkpoint` does, and for a processor or weights that cannot be loaded.
    """
    family = check_checkpoint(folder, name)
    quantized = weights in ("8bit", "4bit")
    with quiet_transformers(progress=False), loading_on(device), explain_loading(KIND, name):
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        kept = _unquantized(folder, family) if quantized else None
        model, report = _class_of(family).from_pretrained(
            folder,
            **({"dtype": "auto"} if weights is None else number_format(weights, kept)),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    refuse_missing(name, report)
    extractor = getattr(processor, "feature_extractor", None) or processor.audio_processor
    check_rate(name, extractor)
    disable_cpu_repacking(model)
    if device != "cpu" and not quantized:
        model.to(device)
    return model.eval(), Chat(processor, name, family.takes_text), family


def load_structure(folder: Path, name: str) -> tuple[PreTrainedModel, Chat, AudioFamily]:
    """Return what `load_checkpoint` does, without the weights of the model. Raises UserError as it does."""
    family = check_checkpoint(folder, name)
    with quiet_transformers(progress=False), explain_loading(KIND, name):
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return _structure(folder, family), Chat(processor, name, family.takes_text), family


def check_adaptable(folder: Path, name: str, lora: LoraOptions) -> None:
    """Raise UserError where an adapter cannot be put into the model of a folder. Loads no weights."""
    family = check_checkpoint(folder, name)
    check_quantized(name, lora.base_weights)
    adapted_layers(_structure(folder, family), family, name, lora)


def adapted_layers(model: PreTrainedModel, family: AudioFamily, name: str, lora: LoraOptions) -> list[str]:
    """Return the names of the linear layers that get an adapter: those that `lora.targets` names in the
    language model's layers and, with `lora.audio`, all of the audio tower and of the projector.

    Raises UserError for a target that the language model lacks.
    """
    check_targets(model.get_decoder().layers, name, lora.targets)
    text = _text_layers(model)
    chosen = [path for path in text if any(path.endswith(f".{target}") for target in lora.targets)]
    if not lora.audio:
        return chosen
    parts = set(family.audio_parts)
    heard = [path for path in _linear(model) if not parts.isdisjoint(path.split("."))]
    return chosen + [path for path in heard if "vision" not in path]  # Phi-4 has a projector for both, too


def _linear(model: nn.Module) -> list[str]:
    return [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]


def _text_layers(model: PreTrainedModel) -> list[str]:
    """Return the names of the linear layers in the layers of the language model."""
    layers = model.get_decoder().layers
    (within,) = (path for path, module in model.named_modules() if module is layers)
    return [path for path in _linear(model) if path.startswith(f"{within}.")]


def _unquantized(folder: Path, family: AudioFamily) -> list[str]:
    """Return the names of the linear layers that stay as they are in a quantized model: all but those of the
    language model's layers."""
    model = _structure(folder, family)
    text = set(_text_layers(model))
    return [path for path in _linear(model) if path not in text]


def _structure(folder: Path, family: AudioFamily) -> PreTrainedModel:
    """Return a model without its weights."""
    kind: Any = _class_of(family)
    with explain_loading(KIND, str(folder)), quiet_transformers(progress=False), torch.device("meta"):
        return kind(kind.config_class.from_pretrained(folder, local_files_only=True))


def _class_of(family: AudioFamily) -> Any:
    return getattr(transformers, family.model_class)
