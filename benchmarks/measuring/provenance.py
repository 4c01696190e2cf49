"""Where figures come from: what several circumstances have in common, and the models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perser.io.checksums import weights_sha256


def one_or_distinct(values: Iterable[Any]) -> Any:
    """The value that all have; where they differ, the list of the different ones."""
    given = list(values)
    distinct = [value for place, value in enumerate(given) if value not in given[:place]]
    return distinct[0] if len(distinct) == 1 else distinct


def weights_digests(models: Path) -> dict[str, str]:
    """By the folder of a model, a digest of its weights: equal where all numbers are."""
    folders = sorted(one for one in models.iterdir() if one.is_dir()) if models.exists() else []
    found = {folder.name: weights_sha256(folder) for folder in folders}
    return {name: digest for name, digest in found.items() if digest is not None}
