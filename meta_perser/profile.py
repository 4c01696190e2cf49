"""Profiles: what one person's adaptation moved, kept in one safetensors file for later.

    predictor = method.personalize(support)
    save_profile(predictor, Path("anna.safetensors"))
    predictor = load_profile(Path("anna.safetensors"), method.model, method.source)

The file has the moved tensors alone (of a head, thousands of numbers beside the encoder's millions); its
header names the recogniser that they belong to.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from meta_perser.clips import ClipSource
from meta_perser.gradient import RecognizerPredictor
from meta_perser.model import EmotionRecognizer
from perser.errors import UserError

FORMAT = "perser-profile-1"
WEIGHT, BIAS = "weight:", "logit_bias"
"""How tensors are named in the file: a moved weight by this and its name; a bias on the logits."""


def save_profile(predictor: RecognizerPredictor, path: Path) -> None:
    """Write what the person's adaptation moved. Raises UserError where the file cannot be written."""
    tensors = {f"{WEIGHT}{name}": one.detach().cpu().clone() for name, one in predictor.weights.items()}
    if predictor.logit_bias is not None:
        tensors[BIAS] = predictor.logit_bias.detach().cpu().clone()
    header = _belongs_to(predictor.model) | {"format": FORMAT}
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=header)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write the profile {path}: {error}") from error


def load_profile(path: Path, model: EmotionRecognizer, source: ClipSource) -> RecognizerPredictor:
    """The predictor that was saved, on the recogniser that it was adapted from.

    Raises UserError where the file is no profile, or one of another recogniser.
    """
    try:
        with safe_open(path, framework="pt", device=str(model.layer_logits.device)) as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a profile: {error}") from error
    if header.get("format") != FORMAT:
        raise UserError(f"{path} is not a profile of this version: personalise again")
    _check(path, header, _belongs_to(model))
    weights = {name.removeprefix(WEIGHT): one for name, one in tensors.items() if name.startswith(WEIGHT)}
    return RecognizerPredictor(model, source, weights, logit_bias=tensors.get(BIAS))


def _belongs_to(model: EmotionRecognizer) -> dict[str, str]:
    """What a profile and its recogniser must agree on."""
    return {
        "emotions": json.dumps(model.emotions.names),
        "scope": model.scope,
        "model": model.fingerprint(),
    }


def _check(path: Path, header: dict[str, str], model: dict[str, str]) -> None:
    for field, wanted in model.items():
        if header.get(field) != wanted:
            detail = "" if field == "model" else f" ({field} {header.get(field)} there, {wanted} here)"
            raise UserError(
                f"the profile {path} is of another model{detail}: load it with the model that it was "
                "adapted from, or personalise again"
            )
