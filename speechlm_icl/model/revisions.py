"""Names and revisions of the encoder and language model that a checkpoint refers to but does not contain.

Names are written so that a run can be moved (`portable_name`). Revisions detect that a name now refers to
another model than the one used in training (`check_revision`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from perser.errors import UserError
from perser.io.checksums import file_sha256

_OUTPUT_FILES = (
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.bin",
    "tokenizer*",
    "vocab*",
    "merges.txt",
)
"""The files of a model folder that its output depends on."""


def portable_name(name: str, folder: Path) -> str:
    """Return how the model in `folder` refers to another model.

    It is a relative path where the other model is in `folder` or in the same run's folder, so that both can
    be moved together; the full path of any other local folder or file; else the name unchanged.
    """
    target = Path(name).expanduser()
    if not target.exists():
        return name
    if target.resolve().is_relative_to(folder.resolve()):
        return f"./{target.resolve().relative_to(folder.resolve()).as_posix()}"
    run = folder.resolve().parent.parent
    if run != Path(run.anchor) and target.resolve().is_relative_to(run):
        return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    return str(target.resolve())


def resolve_name(name: str, folder: Path) -> str:
    """Return the name or path that `portable_name` was given."""
    return str((folder / name).resolve()) if name.startswith(("./", "../")) else name


def revision_of(name: str) -> str | None:
    """Return what distinguishes a model from others of the same name, or None where that is not known.

    It is `sha256:...` of the files that the output of a local file or folder depends on, or the commit of a
    Hub name in the Hub's local cache.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _sha256([path])
    if path.is_dir():
        return _sha256(sorted({file for pattern in _OUTPUT_FILES for file in path.glob(pattern)}))
    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None  # .../snapshots/COMMIT/config.json


def commit_of(revision: str | None) -> str | None:
    """Return the revision if it is a Hub commit, else None."""
    return None if revision is None or revision.startswith("sha256:") else revision


def check_revision(name: str, revision: str | None, what: str) -> None:
    """Raise UserError where `name` now refers to a model of another revision.

    Passes where either revision is unknown.

    Args:
        name: Folder, file or Hub name.
        revision: What `revision_of` returned when the model was saved.
        what: The kind of model, for the message.
    """
    current = revision_of(name)
    if revision is not None and current is not None and current != revision:
        raise UserError(
            f"the {what} '{name}' is not the one that this model was trained with ({current[:19]} instead of "
            f"{revision[:19]}): restore that one, or train the model again"
        )


def _sha256(files: list[Path]) -> str:
    """Return one digest of the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
