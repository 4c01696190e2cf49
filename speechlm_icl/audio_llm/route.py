"""The route `audio-llm`, an entry point of `perser.routes`: ready audio LLMs as in-context methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts
from perser.route import Route
from speechlm_icl.audio_llm.endpoint.settings import FILE, split_endpoint
from speechlm_icl.audio_llm.families import DEFAULT_EMOTIONS, METHOD, WITHOUT, is_audio_llm, split_text

if TYPE_CHECKING:
    from perser.route import RouteModel


def load(folder: Path) -> RouteModel | None:
    """Return the audio LLM in a folder, or behind the endpoint that it names, or None."""
    if not _is_one(folder):
        return None
    from speechlm_icl.audio_llm.inference import AudioLLMModel

    return AudioLLMModel.from_pretrained(folder)


def facts(folder: Path) -> ModelFacts | None:
    """Return what the files of such a folder say."""
    if not _is_one(folder):
        return None
    return ModelFacts(METHOD, DEFAULT_EMOTIONS, {})


def _is_one(folder: Path) -> bool:
    return (folder / FILE).is_file() or is_audio_llm(read_json(folder / "config.json"))


def check_options(method: str, options: tuple[str, ...]) -> None:
    """Raise UserError for a wrong option of the method's name, such as `audio-llm:NAME-8+order=4`."""
    from speechlm_icl.prompt.demonstrations import parse_demonstration_options

    parse_demonstration_options(split_text(split_endpoint(options)[1])[1], method, WITHOUT)


ROUTE = Route(
    METHOD,
    methods={METHOD: "speechlm_icl.audio_llm.personalizer:audio_llm"},
    check_options=check_options,
    load=load,
    facts=facts,
    check_method="speechlm_icl.audio_llm.personalizer:check",
    numbered=(METHOD,),
    names_models=(METHOD,),
    learn_labels=(METHOD,),
)
