"""The route `audio-llm`, an entry point of `perser.routes`: ready audio LLMs as in-context methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perser.errors import UserError
from perser.io.hub import is_hub_name
from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts, emotions_in
from perser.route import Route, split_address
from speechlm_icl.audio_llm.endpoint.settings import FILE, split_endpoint
from speechlm_icl.audio_llm.families import (
    DEFAULT_EMOTIONS,
    METHOD,
    TRAINED,
    WITHOUT,
    check_reads_enrollment,
    family_of_config,
    is_audio_llm,
    split_text,
)
from speechlm_icl.model.revisions import commit_of, resolve_name

TRAINING = "training.json"
"""As in `speechlm_icl.model.saved_model`, which imports transformers; this module does not."""

if TYPE_CHECKING:
    from perser.route import RouteModel


def load(folder: Path) -> RouteModel | None:
    """Return the audio LLM in a folder, or behind the endpoint that it names, or None."""
    if not _is_one(folder):
        return None
    from speechlm_icl.audio_llm.inference import AudioLLMModel

    return AudioLLMModel.from_pretrained(folder)


def load_address(name: str) -> RouteModel | None:
    """Return the model behind the endpoint of an address, or None."""
    address = split_address(name)
    if address is None:
        return None
    from speechlm_icl.audio_llm.inference import AudioLLMModel

    return AudioLLMModel.at_endpoint(*address)


def check_enrollment(name: str) -> None:
    """Raise UserError for an audio LLM that cannot read enrolled clips, by its config.json alone: of a model
    on the Hub, nothing else is downloaded."""
    folder = Path(name).expanduser()
    config: Mapping[str, Any] | None
    if folder.is_dir():
        config = read_json(folder / "config.json")
    elif is_hub_name(name):
        from speechlm_icl.audio_llm.trained import config_of

        try:
            config = config_of(name)
        except UserError:  # loading it says what is wrong
            return
    else:
        return
    if config is not None and is_audio_llm(config):
        check_reads_enrollment(family_of_config(config, name).several_clips, name)


def facts(folder: Path) -> ModelFacts | None:
    """Return what the files of such a folder say."""
    if (trained := read_json(folder / TRAINED)) is not None:
        base = resolve_name(str(trained.get("language_model")), folder)
        revision = trained.get("language_model_revision")
        record = read_json(folder / TRAINING) or {}
        needs = {base: commit_of(revision) if isinstance(revision, str) else None}
        return ModelFacts(METHOD, emotions_in(trained), needs, record.get("trained_on"))
    return ModelFacts(METHOD, DEFAULT_EMOTIONS, {}) if _is_one(folder) else None


def _is_one(folder: Path) -> bool:
    named = (folder / FILE, folder / TRAINED)
    return any(file.is_file() for file in named) or is_audio_llm(read_json(folder / "config.json"))


def check_options(method: str, options: tuple[str, ...]) -> None:
    """Raise UserError for a wrong option of the method's name, such as `audio-llm:NAME-8+order=4`."""
    from speechlm_icl.prompt.demonstrations import parse_demonstration_options

    parse_demonstration_options(split_text(split_endpoint(options)[1])[1], method, WITHOUT)


ROUTE = Route(
    METHOD,
    methods={METHOD: "speechlm_icl.audio_llm.personalizer:audio_llm"},
    check_options=check_options,
    load=load,
    load_address=load_address,
    check_enrollment=check_enrollment,
    facts=facts,
    check_method="speechlm_icl.audio_llm.personalizer:check",
    numbered=(METHOD,),
    names_models=(METHOD,),
    learn_labels=(METHOD,),
)
