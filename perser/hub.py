"""The Hugging Face Hub, asked once and briefly."""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from perser.errors import UserError


def hub_answers(name: str, nowhere: str) -> bool:
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
