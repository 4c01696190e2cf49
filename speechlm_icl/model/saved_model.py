"""Save and load a speech language model. A checkpoint holds what was trained and names its base models.

config.json                SpeechLMConfig
projector.safetensors      the projector with its layer weights and standardization, and what binds pairs
adapter/                   the language model's LoRA adapter, in peft's format; or
language_model/            the language model itself, where it was trained in full
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from perser.device import MAKING_A_MODEL, loading_device, loading_on
from perser.errors import explain_damage
from perser.io.checksums import verify_checksums, write_checksums
from perser.io.hub import trained_model_folder
from perser.io.loading_options import LoadingOptions, SavingOptions
from speechlm_icl.model.configuration import CONFIG, SpeechLMConfig, read_config
from speechlm_icl.model.language_model import (
    ADAPTER_FOLDER,
    LANGUAGE_MODEL_FOLDER,
    LoraOptions,
    check_attention,
    choose_attention,
    load_language_model,
)
from speechlm_icl.model.revisions import check_revision, commit_of, portable_name, resolve_name

WEIGHTS = "projector.safetensors"
"""File that every model folder has."""

BINDING = "binding."
"""Before the names of the binding's weights in that file."""

CHECKSUMMED = (CONFIG, WEIGHTS, f"{LANGUAGE_MODEL_FOLDER}/*", f"{ADAPTER_FOLDER}/*")
"""Files that checksums are written of (`perser.io.checksums.write_checksums`)."""

TRAINING = "training.json"
"""Record of the training: the training persons, the options and the validation losses."""


if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object  # transformers would take the mixin itself for a model


class CheckpointMixin(_Model):
    """`save_pretrained` and `from_pretrained` of a model that saves what was trained, not its base models."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write config.json, projector.safetensors and what was trained of the language model.

        Args:
            save_directory: Folder to write; it is created where it does not exist.
            **options: Those of transformers (`perser.io.loading_options.SavingOptions`).

        Raises UserError for a `state_dict` that holds other weights.
        """
        saving = SavingOptions.of(self, options)
        if not saving.here:
            return
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__]
        config.encoder = portable_name(config.encoder, folder)
        config.language_model = portable_name(config.language_model, folder)
        config.save_pretrained(folder)
        state = {name: value.contiguous() for name, value in _state(self).items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        self.language_model.save(folder)
        write_checksums(folder, CHECKSUMMED)
        if saving.upload:
            self.push_to_hub(saving.name or folder.name, **saving.hub)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        config: SpeechLMConfig | None = None,
        **options: Any,
    ) -> Self:
        """Load a model that `save_pretrained` wrote, in evaluation mode.

        Args:
            name: Folder or Hub name.
            config: Replaces the folder's config.
            **options: Those of transformers (`perser.io.loading_options.LoadingOptions`); any other is a
                TypeError.

        Raises UserError where there is no such model, it is damaged, a base model has changed since, or an
        option cannot be used.
        """
        loading = LoadingOptions.of(options)
        folder = trained_model_folder(str(name), kind="speech-LM model", **loading.hub)
        config = copy.deepcopy(config) if config is not None else read_config(folder)
        config.encoder = resolve_name(config.encoder, folder)
        config.language_model = resolve_name(config.language_model, folder)
        intact = verify_checksums(folder)
        # The Auto classes pass it in the config. It is used at the end: it is no property of the folder.
        attention = loading.attention or config._attn_implementation_internal
        config._attn_implementation_internal = None
        if attention is not None:
            check_attention(attention)
        commit = commit_of(config.language_model_revision)
        if commit is None:
            check_revision(config.language_model, config.language_model_revision, "language model")
        with (
            MAKING_A_MODEL,
            loading_on(loading.device or loading_device()),
            explain_damage(f"the speech-LM model in {folder}", "train it again", intact),
        ):
            weights = LoraOptions(**config.lora or {}).base_weights
            language_model = load_language_model(folder, config.language_model, weights, commit)
            model = cls(config, language_model)
            _load_state(model, load_file(folder / WEIGHTS))
        if attention is not None:
            choose_attention(model, attention)
        loading.place(model)
        model.name_or_path = str(name)
        return model.eval()


def _state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the weights of the projector and, with a prefix, of the binding where there is one."""
    state = model.projector.state_dict()
    if model.binding is not None:
        state |= {f"{BINDING}{name}": value for name, value in model.binding.state_dict().items()}
    return state


def _load_state(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Load what `_state` gave."""
    bound = {name: value for name, value in state.items() if name.startswith(BINDING)}
    model.projector.load_state_dict({name: state[name] for name in state.keys() - bound.keys()})
    if model.binding is not None:
        model.binding.load_state_dict({name.removeprefix(BINDING): one for name, one in bound.items()})
    elif bound:
        raise ValueError(f"{WEIGHTS} binds pairs, but {CONFIG} says prompt.bind: false")
