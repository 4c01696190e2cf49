"""The options of `from_pretrained` and `save_pretrained` that the models of this toolkit take. They have
transformers' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from perser.distributed import compute_device
from perser.errors import UserError
from perser.io.terminal import counted

HUB_OPTIONS = frozenset(("revision", "token", "cache_dir", "local_files_only"))

NO_EFFECT = frozenset(
    (
        *("trust_remote_code", "adapter_kwargs", "_from_auto", "code_revision"),
        *("force_download", "proxies", "low_cpu_mem_usage", "use_safetensors", "weights_only"),
    )
)
"""Options that are accepted and change nothing: those that the Auto classes pass on, and those that ask for
what is always done."""

NUMBER_FORMATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Those of weights that can be computed with."""

HOW_IT_IS_SAVED = frozenset(("save_function", "safe_serialization", "max_shard_size", "variant"))
"""Options of `save_pretrained` that change nothing: the files are always safetensors, one a part."""

ANY_DEVICE = ("auto", "balanced", "balanced_low_0", "sequential")
"""Values of `device_map` that leave the choice to the library."""


@dataclass(frozen=True)
class LoadingOptions:
    """How a model is loaded.

    Args:
        hub: Options for the Hub, by name.
        dtype: Number format of all weights; as saved when None.
        device: Where the model is put, as torch names it; the CPU when None.
        attention: Attention function of the language model; transformers chooses when None.
    """

    hub: Mapping[str, Any]
    dtype: torch.dtype | None = None
    device: str | None = None
    attention: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> LoadingOptions:
        """Read the options of a call of `from_pretrained`.

        `dtype` (or `torch_dtype`, its older name), `device_map`, `attn_implementation` and `HUB_OPTIONS` are
        read. Raises TypeError for an unknown option, UserError for a value that cannot be used.
        """
        rest = {name: value for name, value in options.items() if name not in NO_EFFECT}
        if subfolder := rest.pop("subfolder", None):
            raise UserError(f"subfolder: '{subfolder}', but a model has a folder to itself: give that folder")
        hub = {name: rest.pop(name) for name in HUB_OPTIONS & rest.keys()}
        older = rest.pop("torch_dtype", None)
        dtype = _dtype(rest.pop("dtype", None) or older)
        device = _device(rest.pop("device_map", None))
        attention = rest.pop("attn_implementation", None)
        if rest:
            raise TypeError(f"from_pretrained takes no {', '.join(sorted(rest))}")
        return cls(hub, dtype, device, attention)

    def place(self, model: nn.Module) -> None:
        """Give a loaded model the number format and the device."""
        if self.dtype is not None:
            model.to(self.dtype)
        if self.device not in (None, "cpu"):  # quantized weights cannot be moved, not even to where they are
            model.to(self.device)


@dataclass(frozen=True)
class SavingOptions:
    """How a model is saved.

    Args:
        here: Whether this process saves it: of those of a launch, only the main one is to.
        upload: Whether it is uploaded to the Hub, too.
        name: Its name there; that of its folder when None.
        hub: Options of transformers' `push_to_hub`.
    """

    here: bool
    upload: bool
    name: str | None
    hub: Mapping[str, Any]

    @classmethod
    def of(cls, model: nn.Module, options: Mapping[str, Any]) -> SavingOptions:
        """Read the options of a call of `save_pretrained`.

        Raises UserError for a `state_dict` that holds other weights than the model: what is saved is the
        model.
        """
        rest = {name: value for name, value in options.items() if name not in HOW_IT_IS_SAVED}
        state = rest.pop("state_dict", None)
        if state is not None and not _are_weights_of(model, state):
            raise UserError(
                "state_dict: it holds other weights than the model: give them to it first "
                "(model.load_state_dict), or leave state_dict out"
            )
        return cls(
            rest.pop("is_main_process", True), rest.pop("push_to_hub", False), rest.pop("repo_id", None), rest
        )


def check_labels(config: PreTrainedConfig, emotions: Sequence[str]) -> None:
    """Raise UserError where a config has another number of labels than the model has emotions.

    Other names for the same emotions are taken, for whom the labels are shown to.
    """
    if len(config.id2label) != len(emotions):
        raise UserError(
            f"id2label: it has {counted(len(config.id2label), 'label')}, but the model answers with "
            f"{len(emotions)} emotions ({', '.join(emotions)}): leave num_labels and id2label out"
        )


def _are_weights_of(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    own = model.state_dict()
    return state.keys() == own.keys() and all(
        value.shape == own[name].shape and torch.equal(value.to(own[name]), own[name])
        for name, value in state.items()
    )


def _dtype(value: torch.dtype | str | None) -> torch.dtype | None:
    found = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if value in (None, "auto"):
        return None
    if found not in NUMBER_FORMATS:
        raise UserError(f"dtype: '{value}' is no number format of weights: give float32, bfloat16 or float16")
    return found


def _device(device_map: object) -> str | None:
    """Return the one device that a `device_map` names."""
    places = list(device_map.values()) if isinstance(device_map, Mapping) else [device_map]
    names = sorted({f"cuda:{place}" if isinstance(place, int) else str(place) for place in places})
    if len(names) != 1:
        raise UserError(
            f"device_map: it names {' and '.join(names) or 'no device'}, but the whole model is put on one "
            "device: give 'auto', or one device"
        )
    if device_map is None:
        return None
    return compute_device(None if names[0] in ANY_DEVICE else names[0])
