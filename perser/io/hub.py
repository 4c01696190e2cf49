"""Find a model by name: a local folder, or the Hugging Face Hub, which is asked once and briefly.

Model folders from strangers: weights are read from safetensors files alone, since opening a pickle (.bin,
.pt, .pth, .ckpt) can run code. Here a folder is looked at before any library opens something in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from perser.errors import UserError

SAFE_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*")
"""What a model is made of, its model card aside: nothing that could run code when it is opened."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class ModelSource:
    """Where transformers loads a model from.

    Args:
        path: A folder or a Hub name.
        offline: Whether it can only be on this machine: it is a folder, or the Hub is out of reach and its
            local cache is all there is.
    """

    path: str
    offline: bool

    @property
    def is_folder(self) -> bool:
        return Path(self.path).is_dir()


def find_model(name: str, kind: str, built_in: str) -> ModelSource:
    """Where a model of this name is.

    Args:
        name: A folder or a Hub name.
        kind: What it is to be, for messages: `encoder` or `language model`.
        built_in: The names that need neither, for messages.

    Raises UserError for a folder that holds no model, or a name that the Hub lacks.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"'{name}' is not a model folder: it has no config.json")
        return ModelSource(str(folder), offline=True)
    nowhere = f"no {kind} '{name}': not a local folder, not on the Hub and not one of {built_in}"
    return ModelSource(name, offline=not _hub_answers(name, nowhere))


def out_of_reach(name: str, kind: str, built_in: str) -> UserError:
    """The error for a model that is not in the local cache while the Hub cannot be reached."""
    return UserError(
        f"cannot reach the Hugging Face Hub for the {kind} '{name}', and it is not in the local cache: "
        f"give a model folder, or one of {built_in}"
    )


def is_hub_name(name: str) -> bool:
    """Whether it has the form `owner/name`."""
    return _HUB_NAME.fullmatch(name) is not None


def trained_model_folder(
    name: str,
    kind: str = "model",
    token: str | bool | None = None,
    local_files_only: bool = False,
    **hub: Any,
) -> Path:
    """The folder of a trained model: the local one of that name, or what the Hub's local cache holds of
    `owner/name`, brought up to date first where the Hub answers. Only `SAFE_FILES` are downloaded.

    Args:
        name: A folder or a Hub name.
        kind: What it is to be, for messages.
        token: For private models, as everywhere in huggingface_hub.
        local_files_only: Whether the Hub is not to be asked.
        **hub: Further options of `snapshot_download` (`revision`, `cache_dir`).

    Raises UserError for a name that is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_name(name):
        raise UserError(f"no {kind} '{name}': there is no such folder")
    nowhere = f"no {kind} '{name}': no such folder, and not on the Hugging Face Hub"
    offline = local_files_only or not _hub_answers(name, nowhere, token)
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=list(SAFE_FILES), token=token, local_files_only=offline, **hub
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        if offline:
            reason = "which cannot be reached and has left nothing in its local cache"
        raise UserError(
            f"no {kind} '{name}': no such folder, and not to be had from the Hugging Face Hub "
            f"({reason.splitlines()[0]})"
        ) from error


def _hub_answers(name: str, nowhere: str, token: str | bool | None = None) -> bool:
    """Whether the Hub has the model; False when it cannot be reached, so that the local cache is used at
    once instead of after transformers' half minute of retries.

    Raises UserError that begins with `nowhere` for a name that the Hub lacks.
    """
    try:
        HfApi(token=token).model_info(name, timeout=10)
    except HFValidationError as error:
        raise UserError(nowhere) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{nowhere} (a private model needs `hf auth login`)") from error
    except Exception:  # the HTTP library's own errors, which differ between versions of huggingface_hub
        return False
    return True


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

INDEX = "model.safetensors.index.json"
"""Names the files of a model that is kept in several."""


def refuse_pickles(folder: Path, kind: str) -> None:
    """Raises UserError unless the weights of a transformers folder are safetensors files in it; `kind` is
    what the model is to be, for the message.

    Pickles beside them, as many a published model has, are left alone: nothing opens them.
    """
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise UserError(
                f"the {kind} in {folder} has its weights as pickles alone ({pickles[0]}), which can run "
                "code: save it as safetensors (save_pretrained of the library that it comes from does)"
            )
        raise UserError(f"'{folder}' is not a model folder: it has no weights (*.safetensors)")
    if (folder / "adapter_config.json").exists():  # transformers would load the adapter too
        raise UserError(f"the {kind} in {folder} is an adapter, not a whole model: merge it into its base")
    if not (folder / "model.safetensors").is_file() and (folder / INDEX).is_file():
        for name in _named_in(folder / INDEX):
            if Path(name).name != name or Path(name).suffix != ".safetensors":
                raise UserError(f"{folder / INDEX} names '{name}', no safetensors file of its folder")


def _named_in(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is damaged ({error}): get the model again") from error
