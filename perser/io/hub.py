"""Find a model by name, as a local folder or on the Hugging Face Hub, and refuse weights that can run code.

The Hub is asked once, with a short timeout. Weights are read from safetensors files only, because opening a
pickle (.bin, .pt, .pth, .ckpt) can run code. `refuse_pickles` looks at a folder before any library opens a
file in it.
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
from huggingface_hub.utils import validate_repo_id

from perser.errors import UserError, explain_damage, first_line, nearest
from perser.io.files import check_name
from perser.io.folders import did_you_mean
from perser.starter import ENCODER, HOW_TO_GET_IT, NAMES, starter_folder

SAFE_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*")
"""The files of a model, its model card aside. None of them can run code when it is opened."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Suffixes of files that can run code when they are opened."""

INDEX = "model.safetensors.index.json"
"""Lists the files of weights that are split over several files."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class ModelSource:
    """Where transformers loads a model from.

    Args:
        path: A folder or a Hub name.
        offline: Whether only this machine can provide it: it is a folder, or the Hub cannot be reached and
            its local cache is all there is.
    """

    path: str
    offline: bool

    @property
    def is_folder(self) -> bool:
        return Path(self.path).is_dir()


def find_model(name: str, kind: str, built_in: str) -> ModelSource:
    """Return where a pretrained model (an encoder, a language model) can be loaded from.

    Args:
        name: A folder or a Hub name.
        kind: What the model is, for messages: `encoder` or `language model`.
        built_in: The names of built-in models, for messages; empty where there are none.

    Raises UserError for a folder that holds no model, or a name that is not on the Hub.
    """
    _refuse_empty(name, kind)
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_name(folder)
        if not (folder / "config.json").is_file():
            raise UserError(f"'{name}' is not a model folder: it has no config.json")
        return ModelSource(str(folder), offline=True)
    if folder.is_file():
        raise UserError(f"no {kind} '{name}': it is a file, give the model's folder")
    not_found = f"no {kind} '{name}': not a local folder, not on the Hub{_or(' and not one of', built_in)}"
    not_found += _hint(name, built_in)
    return ModelSource(name, offline=not _hub_answers(name, not_found))


def out_of_reach(name: str, kind: str, built_in: str) -> UserError:
    """Return the error for a model that is not in the local cache while the Hub cannot be reached."""
    if name == ENCODER:
        return UserError(
            f"the encoder {ENCODER}, which the starter models need, is not on this machine, and the Hugging "
            f"Face Hub cannot be reached: {HOW_TO_GET_IT}"
        )
    return UserError(
        f"cannot reach the Hugging Face Hub for the {kind} '{name}', and it is not in the local cache: "
        f"give a model folder{_or(', or one of', built_in)}{_hint(name, built_in)}"
    )


def is_hub_name(name: str) -> bool:
    """Return whether the name has the form `owner/name`."""
    return _HUB_NAME.fullmatch(name) is not None


def check_hub_name(name: str) -> None:
    """Raise UserError for a name that a model cannot have on the Hub."""
    rule = "give OWNER/NAME, of letters, digits, '-', '_' and '.'"
    if not is_hub_name(name):
        raise UserError(f"name: '{name}' is no name on the Hugging Face Hub: {rule}")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        reason = str(error).partition(":")[0]
        raise UserError(f"name: '{name}' is no name on the Hugging Face Hub ({reason}): {rule}") from error


def trained_model_folder(
    name: str,
    kind: str = "model",
    token: str | bool | None = None,
    local_files_only: bool = False,
    **hub: Any,
) -> Path:
    """Return the folder of a model trained with this toolkit, downloaded from the Hub if need be.

    If the Hub answers, its local cache is brought up to date first. Only `SAFE_FILES` are downloaded.

    Args:
        name: A folder, the name of a starter model, or a Hub name.
        kind: What the model is, for messages.
        token: For private models, as everywhere in huggingface_hub.
        local_files_only: Do not ask the Hub.
        **hub: Further options of `snapshot_download` (`revision`, `cache_dir`).

    Raises UserError if there is neither such a folder nor such a model on the Hub.
    """
    _refuse_empty(name, kind)
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_name(folder)
        return folder
    if folder.is_file():
        raise UserError(f"no {kind} '{name}': it is a file, give the model's folder")
    if (starter := starter_folder(name)) is not None:
        return starter
    if not is_hub_name(name):
        closest = nearest(name, NAMES)
        hint = "" if closest is None else f" (did you mean {closest}?)"
        raise UserError(
            f"no {kind} '{name}': there is no such folder{did_you_mean(folder)}. {' and '.join(NAMES)} come "
            f"with perser{hint}, and `perser quickstart` trains others"
        )
    hint = did_you_mean(folder)
    not_found = f"no {kind} '{name}': no such folder, and not on the Hugging Face Hub{hint}"
    offline = local_files_only or not _hub_answers(name, not_found, token)
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=list(SAFE_FILES), token=token, local_files_only=offline, **hub
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        if offline:
            reason = f"the Hub cannot be reached, and its local cache does not have the model{hint}"
        raise UserError(
            f"no {kind} '{name}': no such folder, and it cannot be downloaded from the Hugging Face Hub "
            f"({reason.splitlines()[0]})"
        ) from error


def upload_folder(folder: Path, name: str) -> str:
    """Upload a folder as a model to the Hub and return the address there. A new repository is private.

    Raises UserError where the Hub cannot be reached or refuses it; the folder stays as it is.
    """
    api = HfApi()
    try:
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload by perser export")
    except Exception as error:  # errors of the HTTP library differ between versions of huggingface_hub
        raise UserError(
            f"cannot upload {folder} to {name} on the Hugging Face Hub ({first_line(error)}): see that the "
            f"network works and `hf auth login` was run, then `hf upload {name} {folder}`"
        ) from error
    return str(address)


def refuse_pickles(folder: Path, kind: str) -> None:
    """Raise UserError unless a transformers folder has its weights in safetensors files of its own.

    `kind` is what the model is, for the message. Pickles beside the safetensors files are allowed, because
    many published models have both and nothing opens the pickles.
    """
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise UserError(
                f"the {kind} in {folder} has its weights as pickles alone ({pickles[0]}), which can run "
                "code: save it as safetensors (`save_pretrained` of the library that it comes from does)"
            )
        raise UserError(f"'{folder}' is not a model folder: it has no weights (*.safetensors)")
    if (folder / "adapter_config.json").exists():  # transformers would load the adapter too
        raise UserError(
            f"the {kind} in {folder} is an adapter, not a complete model: merge it into its base model"
        )
    if not (folder / "model.safetensors").is_file() and (folder / INDEX).is_file():
        for name in _files_in_index(folder / INDEX):
            if Path(name).name != name or Path(name).suffix != ".safetensors":
                raise UserError(
                    f"{folder / INDEX} names '{name}', which is no safetensors file of its folder"
                )


def _or(words: str, built_in: str) -> str:
    """Return words and the names of built-in models; nothing where there are none."""
    return f"{words} {built_in}" if built_in else ""


def _hint(name: str, built_in: str) -> str:
    """Return ` (did you mean X?)`, with a built-in model or a folder of a name like this one, or nothing."""
    closest = nearest(name, built_in.split(", "))
    return did_you_mean(Path(name).expanduser()) if closest is None else f" (did you mean {closest}?)"


def _refuse_empty(name: str, kind: str) -> None:
    """Raise UserError for an empty name, because `Path("")` is the working folder."""
    if not name.strip():
        raise UserError(f"the {kind}'s name is empty: give a folder, or a name on the Hugging Face Hub")


def _hub_answers(name: str, not_found: str, token: str | bool | None = None) -> bool:
    """Return whether the Hub has the model, or False if the Hub cannot be reached.

    Then the local cache is used at once, instead of after transformers' half minute of retries. Raises
    UserError that begins with `not_found` for a name that is not on the Hub.
    """
    try:
        HfApi(token=token).model_info(name, timeout=_TIMEOUT_SECONDS)
    except HFValidationError as error:
        raise UserError(not_found) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{not_found} (a private model needs `hf auth login`)") from error
    except Exception:  # errors of the HTTP library, which differ between versions of huggingface_hub
        return False
    return True


def _files_in_index(index: Path) -> set[str]:
    with explain_damage(str(index), "get the model again"):
        return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
