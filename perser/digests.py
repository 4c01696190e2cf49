"""Digests of files."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def file_sha256(file: Path) -> str:
    """Of its content, read once a process for every state of the file: weights are large."""
    facts = file.stat()
    return _sha256_of_state(file, facts.st_size, facts.st_mtime_ns)


def weights_sha256(folder: Path) -> str | None:
    """Of all weights in a model's folder, at any depth: equal where all numbers are. None without any."""
    files = sorted(folder.rglob("*.safetensors"))
    digest = hashlib.sha256(b"".join(bytes.fromhex(file_sha256(one)) for one in files))
    return digest.hexdigest() if files else None


@lru_cache(maxsize=1024)
def _sha256_of_state(file: Path, size: int, modified: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
