"""Pack the trained models into the package: weights in half precision, a card each, and a record of it all.

record.json holds the sha256 of every file and the figures that were measured on exactly these files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.starter.cards import CARDS
from benchmarks.starter.recipe import SIX
from meta_perser.adaptation.meta_trained import RATES_FILE
from meta_perser.options import CONFIG as RECOGNIZER_CONFIG
from meta_perser.recognizer.model import CHECKSUMMED as RECOGNIZER_FILES
from meta_perser.recognizer.model import WEIGHTS as RECOGNIZER_WEIGHTS
from perser.corpora.content import TRAINED_ON
from perser.encoders.encoder import SpeechEncoder
from perser.io.checksums import file_sha256, write_checksums
from perser.io.files import write_text_atomic
from perser.starter import ENCODER
from speechlm_icl.model.configuration import CONFIG
from speechlm_icl.model.language_model import LANGUAGE_MODEL_FOLDER
from speechlm_icl.model.saved_model import CHECKSUMMED, WEIGHTS

RECORD = "record.json"

CARD = "README.md"

KEPT = ("mean", "std", "state_mean", "state_scale", "log_strengths", "log_scale")
"""Tensors that stay in full precision: a mean can be large beside its deviation."""

DROPPED = ("encoder", "fine_tune")
"""Saved settings that name folders of a training, or are for other methods."""


def pack(models: Path, into: Path) -> None:
    """Write the models in `models` to the folders of the starter models in `into`."""
    fingerprint = SpeechEncoder.from_name(ENCODER).fingerprint("all")
    _pack_recognizer(models / "meta-perser", _emptied(into / "starter"), fingerprint)
    _pack_speech_lm(models / "speech-lm", _emptied(into / "starter-icl"), fingerprint)


def write_record(into: Path, figures: Mapping[str, Any]) -> None:
    """Write the cards, and the record of the packed files and of what was measured on them."""
    for name, card in CARDS.items():
        write_text_atomic(into / name / CARD, card(figures))
    record = {"figures": figures, "sha256": digests(into)}
    write_text_atomic(into / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")


def publish(packed: Path, into: Path) -> None:
    """Replace the starter models in `into`, and their record, by those in `packed`."""
    for name in CARDS:
        shutil.copytree(packed / name, _emptied(into / name), dirs_exist_ok=True)
    shutil.copyfile(packed / RECORD, into / RECORD)


def digests(into: Path) -> dict[str, str]:
    """Return the sha256 of every file of the starter models, by its name."""
    files = [file for name in CARDS for file in (into / name).rglob("*") if file.is_file()]
    return {file.relative_to(into).as_posix(): file_sha256(file) for file in sorted(files)}


def _emptied(folder: Path) -> Path:
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def _pack_recognizer(source: Path, out: Path, fingerprint: str) -> None:
    config = json.loads((source / RECOGNIZER_CONFIG).read_text(encoding="utf-8"))
    config["encoder"] = {"name": ENCODER, "fingerprint": fingerprint}
    config["extra"] = {name: value for name, value in config["extra"].items() if name not in DROPPED}
    write_text_atomic(out / RECOGNIZER_CONFIG, json.dumps(config, indent=1) + "\n")
    for name in (RECOGNIZER_WEIGHTS, RATES_FILE):
        _halve(source / name, out / name)
    shutil.copyfile(source / TRAINED_ON, out / TRAINED_ON)
    write_checksums(out, RECOGNIZER_FILES)


def _pack_speech_lm(source: Path, out: Path, fingerprint: str) -> None:
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    config |= {"encoder": ENCODER, "encoder_revision": None, "encoder_fingerprint": fingerprint}
    config["emotions"] = list(SIX)  # the other words stay in its vocabulary
    write_text_atomic(out / CONFIG, json.dumps(config, indent=2) + "\n")
    _halve(source / WEIGHTS, out / WEIGHTS)
    (out / LANGUAGE_MODEL_FOLDER).mkdir()
    for file in sorted((source / LANGUAGE_MODEL_FOLDER).iterdir()):
        target = out / LANGUAGE_MODEL_FOLDER / file.name
        _halve(file, target) if file.suffix == ".safetensors" else shutil.copyfile(file, target)
    for name in (TRAINED_ON, "processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, out / name)
    write_checksums(out, CHECKSUMMED)


def _halve(source: Path, target: Path) -> None:
    """Copy weights in half precision, but for `KEPT`."""
    weights = {
        name: value
        if name.rpartition(".")[2] in KEPT or not value.is_floating_point()
        else value.to(torch.float16)
        for name, value in load_file(source).items()
    }
    save_file(weights, target, metadata={"format": "pt"})
