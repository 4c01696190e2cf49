"""Checkpoints on disk: each a folder that is whole or not there, told apart from a damaged one by checksums.

000012-step-340/
    tensors.safetensors
    state.json
    sha256.json            of the two others
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from perser.digests import file_sha256
from perser.folders import said_if_unwritable, whole_folder

TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "sha256.json"
KEPT = 2
"""How many are kept: the newest, and the one before in case that it turns out to be damaged."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first, whether whole or damaged."""
    return sorted(one for one in folder.glob("[0-9]*") if one.is_dir())


def write_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write one more, then remove the oldest but the `KEPT` newest.

    Raises UserError where it cannot be written; those before are still there then.
    """
    earlier = checkpoints(folder)
    number = int(earlier[-1].name.partition("-")[0]) + 1 if earlier else 1
    out = folder / f"{number:06d}-step-{step}"
    advice = f"make room, and the same command goes on from {earlier[-1].name}" if earlier else "make room"
    with said_if_unwritable(out, advice):
        with whole_folder(out, SUMS) as written:
            save_file(tensors, written / TENSORS)
            (written / STATE).write_text(json.dumps(state), encoding="utf-8")
            sums = {name: file_sha256(written / name) for name in (TENSORS, STATE)}
            (written / SUMS).write_text(json.dumps(sums), encoding="utf-8")
        for one in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(one)


def read_checkpoint(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Its tensors, on the CPU, and its state. Raises ValueError where it is not whole."""
    try:
        sums = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))
        if wrong := [name for name in (TENSORS, STATE) if file_sha256(checkpoint / name) != sums[name]]:
            raise ValueError(f"{' and '.join(wrong)} changed since written")
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return load_file(checkpoint / TENSORS), state
    except (OSError, KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; a line on standard error for each that is not."""
    for one in reversed(checkpoints(folder)):
        try:
            read_checkpoint(one)
        except ValueError as error:
            print(f"{one} is damaged ({error}): going on without it", file=sys.stderr)
        else:
            return one
    return None


def remove_leftovers(folder: Path, newest: Path) -> None:
    """Remove damaged checkpoints after `newest`, and what was being written when a run was killed."""
    for one in (*folder.glob(".*"), *(one for one in checkpoints(folder) if one.name > newest.name)):
        shutil.rmtree(one, ignore_errors=True)
