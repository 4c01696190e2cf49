"""Export a speech language model as a folder that holds the models that it needs, or names them on the
Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perser.encoders.loading import quiet_transformers
from perser.errors import UserError
from perser.export.folder import copy_safe_files
from perser.io.checksums import write_checksums
from perser.io.hub import refuse_pickles
from perser.io.json_files import read_json
from perser.io.model_facts import is_built_in, place_of
from perser.route import Exported
from speechlm_icl.model.base_model import load_base
from speechlm_icl.model.configuration import SpeechLMConfig, read_config
from speechlm_icl.model.language_model import ADAPTER_FOLDER, LANGUAGE_MODEL_FOLDER
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.revisions import check_revision, commit_of, resolve_name, revision_of
from speechlm_icl.model.saved_model import CHECKSUMMED, TRAINING
from speechlm_icl.model.speech_lm import SpeechLMForICL

ENCODER, BASE = "encoder", "base"
"""Subfolders of an exported folder for the models that it needs, where those were local files."""

SUMMARY = """A speech language model that personalizes speech emotion recognition in context: a few clips
that a person labeled are in its prompt, and it answers about the next clip as that person would. No weight
changes."""

CODE = """\
import speechlm_icl.auto  # registers it with the Auto classes
from transformers import AutoModelForMultimodalLM, AutoProcessor

processor = AutoProcessor.from_pretrained("MODEL")
model = AutoModelForMultimodalLM.from_pretrained("MODEL")
inputs = processor(text="<|audio|> FIRST\\n<|audio|>", audio=["a.wav", "clip.wav"], return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=4, do_sample=False)[:, inputs.input_ids.shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True))"""


def export_speech_lm(folder: Path, out: Path) -> Exported:
    """Write the model in a folder to `out` (`perser.route.Route.export`).

    The encoder and the base of the language model are copied where they are local files, and stay names
    with their commits where they are models on the Hub.
    """
    config = read_config(folder)
    encoder = resolve_name(config.encoder, folder)
    base = resolve_name(config.language_model, folder)
    for name, revision, what in (
        (encoder, config.encoder_revision, "speech encoder"),
        (base, config.language_model_revision, "language model"),
    ):
        if commit_of(revision) is None:  # a known commit is loaded whatever else the cache holds
            check_revision(name, revision, what)
        if place_of(name) == "missing":
            raise UserError(f"the {what} '{name}' that the model in {folder} needs is gone: put it back")
    copy_safe_files(folder, out)
    for part in (ADAPTER_FOLDER, LANGUAGE_MODEL_FOLDER):
        if (folder / part).is_dir():
            copy_safe_files(folder / part, out / part)
    if Path(encoder).expanduser().exists():
        _copy_encoder(encoder, out / ENCODER)
        config.encoder, config.encoder_revision = f"./{ENCODER}", revision_of(str(out / ENCODER))
    if Path(base).expanduser().exists():
        _copy_base(base, out / BASE)
        config.language_model, config.language_model_revision = f"./{BASE}", revision_of(str(out / BASE))
    config.save_pretrained(out)
    _rename_base(out / ADAPTER_FOLDER / "adapter_config.json", config.language_model)
    if not (out / "processor_config.json").is_file():
        SpeechLMProcessor.of(SpeechLMForICL.from_pretrained(folder)).save_pretrained(out)
    write_checksums(out, CHECKSUMMED)
    record = read_json(folder / TRAINING) or {}
    assert config.emotions  # as every trained model has
    return Exported(
        summary=SUMMARY,
        transformers_code=CODE.replace("FIRST", config.emotions[0]),
        methods={"speech-lm": ("speech-lm",)},
        trained_on=record.get("trained_on"),
        task="audio-text-to-text",  # the pipeline for audio-classification cannot load it
        bases=_hub_bases(config),
    )


def _copy_encoder(name: str, into: Path) -> None:
    """Copy a local encoder. Raises UserError where its weights are not safetensors."""
    source = Path(name).expanduser()
    refuse_pickles(source, "speech encoder")
    copy_safe_files(source, into)


def _copy_base(name: str, into: Path) -> None:
    """Copy a local language model; one whose weights are not safetensors (GGUF) is loaded and saved anew."""
    source = Path(name).expanduser()
    if any(source.glob("*.safetensors")):
        copy_safe_files(source, into)
        return
    model, tokenizer = load_base(name, "float32")
    with quiet_transformers():
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _rename_base(path: Path, base: str) -> None:
    """Replace the base model's name in an adapter's settings: peft writes its folder on this machine."""
    content: dict[str, Any] | None = read_json(path)
    if content is not None:
        text = json.dumps(content | {"base_model_name_or_path": base}, indent=2, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")


def _hub_bases(config: SpeechLMConfig) -> dict[str, str | None]:
    named = {
        config.encoder: config.encoder_revision,
        config.language_model: config.language_model_revision,
    }
    return {
        name: commit_of(known)
        for name, known in named.items()
        if not is_built_in(name) and not name.startswith("./")
    }
