"""The models that come with the package: where they are, and the speech encoder that they read clips with.

They hold our own weights alone. The encoder is a model on the Hugging Face Hub. Where that cannot be reached,
the environment variable `PERSER_ENCODER` names a folder with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from perser.errors import UserError

ENCODER = "openai/whisper-base"
"""The encoder's name on the Hub."""

VARIABLE = "PERSER_ENCODER"

NAMES = ("starter", "starter-icl")
"""The models' names: Meta-PerSER, and the speech language model."""

HOW_TO_GET_IT = (
    f"where there is a network, run `hf download {ENCODER} --include '*.json' model.safetensors --local-dir "
    f"DIR`, and set {VARIABLE}=DIR here"
)


def starter_folder(name: str) -> Path | None:
    """Return the folder of the starter model with this name; None for any other name."""
    return Path(__file__).parent / name if name in NAMES else None


def place_of_encoder(name: str) -> str:
    """Return the folder that `PERSER_ENCODER` names, for the starter models' encoder; else the name itself.

    Raises UserError where there is no such folder.
    """
    own = os.environ.get(VARIABLE, "") if name == ENCODER else ""
    if not own.strip():
        return name
    folder = Path(own).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{VARIABLE}: {own} is no folder with the encoder {ENCODER} (no config.json): {HOW_TO_GET_IT}"
        )
    return str(folder)


def check_weights(name: str, found: str, wanted: str) -> None:
    """Raise UserError where an encoder's weights are not those that a model was trained with.

    Args:
        name: Of the encoder.
        found: Its fingerprint.
        wanted: The fingerprint that the model recorded.
    """
    if found != wanted:
        where = f" in {os.environ[VARIABLE]} ({VARIABLE})" if place_of_encoder(name) != name else ""
        raise UserError(
            f"the encoder '{name}'{where} is not the one that this model was trained with: {HOW_TO_GET_IT}"
        )
