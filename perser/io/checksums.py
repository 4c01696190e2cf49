"""Digests of files, JSON values and tensors, and `checksums.json`, by which a damaged folder is noticed.

All are sha256. They tell whether content is what was saved, not who saved it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.errors import UserError, explain_damage
from perser.io.json_files import write_json

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUMS = "checksums.json"
"""Maps the names of a folder's files to their sha256."""


def write_checksums(folder: Path, patterns: Iterable[str]) -> None:
    """Write `checksums.json` over the folder's files that match the glob patterns."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_json(folder / CHECKSUMS, digests)


def verify_checksums(folder: Path, remedy: str = "get the model again, or train it again") -> bool:
    """Raise UserError if a file that `checksums.json` names is missing or has changed.

    `remedy` is what the message tells the user to do. Returns False, unchecked, for a folder without
    `checksums.json`.
    """
    if not (folder / CHECKSUMS).is_file():
        return False
    with explain_damage(str(folder / CHECKSUMS), remedy):
        digests = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        if not isinstance(digests, dict):
            raise ValueError("it lists no files")
    for name, digest in digests.items():
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not file.is_file():
            raise UserError(f"{folder} is damaged, the file {name} is missing: {remedy}")
        with explain_damage(str(file), remedy):
            found = file_sha256(file)
        if found != digest:
            raise UserError(
                f"{file} is damaged, it is not what was saved: {remedy} "
                f"(if you changed the file on purpose, delete {CHECKSUMS})"
            )
    return True


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file's content.

    The result is remembered until the file's size or modification time changes, because weights are large.
    """
    status = file.stat()
    return _sha256_of_state(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256_of_state(file: Path, size: int, modified: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str | None:
    """Return the sha256 of all safetensors files in a folder, at any depth; None if there are none."""
    files = sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256(b"".join(bytes.fromhex(file_sha256(file)) for file in files))
    return digest.hexdigest() if files else None


def json_sha256(value: Any, *, sort_keys: bool = False) -> str:
    """Return the sha256 of a value's JSON text."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()


def tensors_sha256(settings: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a text and of named tensors, in the order of their names.

    Each tensor counts with its name, type, shape and bytes. `settings` is whatever else the result depends
    on. Fingerprints of models and digests of profiles are made by this function, and are saved in profiles: a
    change to it makes saved profiles unreadable.
    """
    import torch  # here, because most callers digest files only and need no torch

    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
