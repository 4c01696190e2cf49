"""The models that a speech language model stands on, which its checkpoint names but does not hold: how they
are named so that a run can be moved, and how another one of the same name is told apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from perser.errors import UserError
from perser.io.checksums import file_sha256

_MATTERS = (
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.bin",
    "tokenizer*",
    "vocab*",
    "merges.txt",
)


def portable_name(name: str, folder: Path) -> str:
    """How a model folder names another model: relative to itself where that lies in it, or both in one run's
    folder, so that they can be moved; any other folder or file by its full path; any other name as it is."""
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
    """The inverse of `portable_name`."""
    return str((folder / name).resolve()) if name.startswith(("./", "../")) else name


def revision_of(name: str) -> str | None:
    """What tells this base model from another of the same name: `sha256:...` over the files of a local folder
    (or of a single file) that its output depends on, or the commit of what the Hub's local cache holds; None
    where neither is known."""
    path = Path(name).expanduser()
    if path.is_file():
        return _sha256([path])
    if path.is_dir():
        return _sha256(sorted({file for pattern in _MATTERS for file in path.glob(pattern)}))
    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None  # .../snapshots/COMMIT/config.json


def commit_of(revision: str | None) -> str | None:
    """The Hub commit to load, where the revision is one."""
    return None if revision is None or revision.startswith("sha256:") else revision


def check_base(name: str, revision: str | None, what: str) -> None:
    """Raises UserError where the base model of that name is known to be another than at `revision`.

    Args:
        name: Folder, file or Hub name.
        revision: As `revision_of` gave it when the model was saved; None where it was not known.
        what: What the base is, for the message.
    """
    current = revision_of(name)
    if revision is not None and current is not None and current != revision:
        raise UserError(
            f"the {what} '{name}' is not the one that this model was trained with ({current[:19]} instead of "
            f"{revision[:19]}): put that one back, or train again"
        )


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
