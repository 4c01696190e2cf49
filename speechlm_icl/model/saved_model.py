"""Save and load a speech language model. A checkpoint holds what was trained and names its base models.

config.json                SpeechLMConfig
projector.safetensors      the projector with its layer weights and standardization
adapter/                   the language model's LoRA adapter, in peft's format; or
language_model/            the language model itself, where it was trained in full
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from perser.errors import explain_damage
from perser.io.checksums import verify_checksums, write_checksums
from perser.io.hub import trained_model_folder
from speechlm_icl.model.configuration import CONFIG, SpeechLMConfig, read_config
from speechlm_icl.model.language_model import (
    ADAPTER_FOLDER,
    LANGUAGE_MODEL_FOLDER,
    LoraOptions,
    load_language_model,
)
from speechlm_icl.model.revisions import check_revision, commit_of, portable_name, resolve_name

WEIGHTS = "projector.safetensors"
"""File that every model folder has."""

CHECKSUMMED = (CONFIG, WEIGHTS, f"{LANGUAGE_MODEL_FOLDER}/*", f"{ADAPTER_FOLDER}/*")
"""Files that checksums are written of (`perser.io.checksums.write_checksums`)."""

TRAINING = "training.json"
"""Record of the training: the training persons, the options and the validation losses."""

# Options that transformers' Auto classes and its Trainer pass, and that are ignored here.
_AUTO_CLASS_OPTIONS = {
    "trust_remote_code",
    "adapter_kwargs",
    "_from_auto",
    "force_download",
    "proxies",
    "subfolder",
}

_TRAINER_OPTIONS = {"state_dict", "is_main_process", "save_function", "safe_serialization", "max_shard_size"}


class CheckpointMixin:
    """`save_pretrained` and `from_pretrained` of a model that saves what was trained, not its base models."""

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **hub: Any,
    ) -> None:
        """Write config.json, projector.safetensors and what was trained of the language model.

        Args:
            save_directory: Folder to write; it is created where it does not exist.
            push_to_hub: Whether to upload it, too.
            repo_id: Name on the Hub; the folder's name when None.
            **hub: Options of transformers' `push_to_hub`.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__]
        config.encoder = portable_name(config.encoder, folder)
        config.language_model = portable_name(config.language_model, folder)
        config.save_pretrained(folder)
        state = {name: value.contiguous() for name, value in self.projector.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        self.language_model.save(folder)
        write_checksums(folder, CHECKSUMMED)
        if push_to_hub:
            options = {name: value for name, value in hub.items() if name not in _TRAINER_OPTIONS}
            self.push_to_hub(repo_id or folder.name, **options)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        config: SpeechLMConfig | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        **auto: Any,
    ) -> Self:
        """Load a model that `save_pretrained` wrote, in evaluation mode.

        Args:
            name: Folder or Hub name.
            config: Replaces the folder's config.
            revision, token, cache_dir, local_files_only: Options for the Hub, as in transformers.
            dtype: Number format of all weights (`float32`, ...); as saved when None or `auto`.
            attn_implementation: Attention function of the language model (`eager`, `sdpa`, ...); transformers
                chooses when None.
            **auto: What the Auto classes pass; ignored. Any other option is a TypeError.

        Raises UserError where there is no such model, it is damaged, or a base model has changed since.
        """
        if unknown := set(auto) - _AUTO_CLASS_OPTIONS:
            raise TypeError(f"from_pretrained takes no {', '.join(sorted(unknown))}")
        folder = trained_model_folder(
            str(name),
            kind="speech-LM model",
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        config = copy.deepcopy(config) if config is not None else read_config(folder)
        config.encoder = resolve_name(config.encoder, folder)
        config.language_model = resolve_name(config.language_model, folder)
        verify_checksums(folder)
        # The Auto classes pass it in the config.
        attn_implementation = attn_implementation or config._attn_implementation_internal
        commit = commit_of(config.language_model_revision)
        if commit is None:
            check_revision(config.language_model, config.language_model_revision, "language model")
        with explain_damage(f"the speech-LM model in {folder}", "train it again"):
            weights = LoraOptions(**config.lora).base_weights
            language_model = load_language_model(folder, config.language_model, weights, commit)
            model = cls(config, language_model)
            model.projector.load_state_dict(load_file(folder / WEIGHTS))
        if attn_implementation is not None:
            model.set_attn_implementation(attn_implementation)
        if dtype not in (None, "auto"):
            model = model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        model.name_or_path = str(name)
        return model.eval()
