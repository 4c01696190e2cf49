"""Find a model by name: a local folder, or the Hugging Face Hub, which is asked once and briefly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from perser.errors import UserError


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


def _hub_answers(name: str, nowhere: str) -> bool:
    """Whether the Hub has the model; False when it cannot be reached, so that the local cache is used at
    once instead of after transformers' half minute of retries.

    Raises UserError that begins with `nowhere` for a name that the Hub lacks.
    """
    try:
        HfApi().model_info(name, timeout=10)
    except HFValidationError as error:
        raise UserError(nowhere) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{nowhere} (a private model needs `hf auth login`)") from error
    except Exception:  # the HTTP library's own errors, which differ between versions of huggingface_hub
        return False
    return True
