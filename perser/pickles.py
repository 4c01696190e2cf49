"""Model folders from strangers: weights are read from safetensors files alone, since opening a pickle (.bin,
.pt, .pth, .ckpt) can run code. Here a folder is looked at before any library opens something in it."""

from __future__ import annotations

import json
from pathlib import Path

from perser.errors import UserError

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
