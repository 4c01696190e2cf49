"""Whether a folder is of this route, found out without loading anything large, and its model if so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts, emotions_in
from speechlm_icl.model.revisions import commit_of, resolve_name

if TYPE_CHECKING:
    from perser.export.contract import Exported
    from speechlm_icl.inference import SpeechLM

# As `configuration` and `checkpoint` have them, which import transformers.
CONFIG, WEIGHTS = "config.json", "projector.safetensors"


def load_speech_lm(folder: Path) -> SpeechLM | None:
    """The model that `perser icl-train` wrote to a folder; None where there is none."""
    if not ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
        return None
    from speechlm_icl.inference import SpeechLM

    return SpeechLM.from_pretrained(folder)


def facts(folder: Path) -> ModelFacts | None:
    """What such a folder's files say: it stands on an encoder and a language model."""
    config = read_json(folder / CONFIG) if (folder / WEIGHTS).is_file() else None
    if config is None:
        return None
    needs = {
        resolve_name(str(config.get(one)), folder): _commit(config.get(f"{one}_revision"))
        for one in ("encoder", "language_model")
    }
    return ModelFacts("speech-lm", emotions_in(config), needs)


def _commit(revision: object) -> str | None:
    return commit_of(revision) if isinstance(revision, str) else None


def export(folder: Path, out: Path) -> Exported:
    """Writes all that the model in a folder needs to another (`perser.export.contract.Exporter`)."""
    from speechlm_icl.export_model import export_speech_lm

    return export_speech_lm(folder, out)


load_speech_lm.facts = facts

load_speech_lm.export = export
