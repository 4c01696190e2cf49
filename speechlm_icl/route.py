"""The route `speech-lm`, an entry point of `perser.routes`: in-context learning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perser.errors import UserError
from perser.io.json_files import read_json
from perser.io.model_facts import ModelFacts, emotions_in
from perser.route import Options, Route, TrainedModel, Training, check_fields
from speechlm_icl.model.revisions import commit_of, resolve_name

if TYPE_CHECKING:
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile
    from perser.route import Exported
    from speechlm_icl.inference import SpeechLM

CONFIG, WEIGHTS, TRAINING = "config.json", "projector.safetensors", "training.json"
"""As in `model.configuration` and `model.saved_model`, which import transformers; this module does not."""


def load(folder: Path) -> SpeechLM | None:
    """Return the model that `perser icl-train` wrote to a folder, or None."""
    if not ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
        return None
    from speechlm_icl.inference import SpeechLM

    return SpeechLM.from_pretrained(folder)


def facts(folder: Path) -> ModelFacts | None:
    """Return what the files of such a folder say; the model needs an encoder and a language model."""
    config = read_json(folder / CONFIG) if (folder / WEIGHTS).is_file() else None
    if config is None:
        return None
    needs = {
        resolve_name(str(config.get(base)), folder): _commit(config.get(f"{base}_revision"))
        for base in ("encoder", "language_model")
    }
    trained_on = (read_json(folder / TRAINING) or {}).get("trained_on")
    return ModelFacts("speech-lm", emotions_in(config), needs, trained_on)


def export(folder: Path, out: Path) -> Exported:
    """Write everything that the model in a folder needs to another (`Route.export`)."""
    from speechlm_icl.export_model import export_speech_lm

    return export_speech_lm(folder, out)


def check_options(method: str, options: tuple[str, ...]) -> None:
    """Raise UserError for a wrong option of a method's name, such as `speech-lm-8+order=4`."""
    from speechlm_icl.prompt.demonstrations import parse_demonstration_options

    parse_demonstration_options(options)


def check(options: Mapping[str, Options], models: Collection[str]) -> None:
    """Raise UserError for options of `icl_train` that are known to fail."""
    from speechlm_icl.audio_llm.start import is_audio_llm_name
    from speechlm_icl.model.language_model import check_language_model
    from speechlm_icl.training.optimizer import check_optimizer
    from speechlm_icl.training.options import IclOptions

    training = options["icl_train"]
    check_fields(IclOptions, "icl_train", training)
    if "speech-lm" in models:
        check_optimizer(training["optimizer"])
        if is_audio_llm_name(name := training["language_model"]):
            raise UserError(
                f"icl_train.language_model: '{name}' is an audio LLM, which has its own encoder: train "
                "it with `perser icl-train`, and measure it as audio-llm:NAME"
            )
        check_language_model(name, training["lora"])


def check_episodes(folder: str, options: Options, corpus: Corpus, episodes: EpisodeFile) -> None:
    """Raise UserError where a training prompt exceeds the language model's context."""
    if folder == "speech-lm":
        from speechlm_icl.model.context_length import check_training_fits

        check_training_fits(
            options["language_model"],
            options["prompt"],
            corpus.emotions,
            [*episodes.training_tasks(corpus), *episodes.validation_tasks(corpus)],
            options["pairs"],
            options["projector"],
            corpus.recordings.duration,
        )


def _commit(revision: object) -> str | None:
    return commit_of(revision) if isinstance(revision, str) else None


ROUTE = Route(
    name="speech-lm",
    learn_labels=("speech-lm",),
    methods={"speech-lm": "speechlm_icl.personalizer:speech_lm"},
    check_options=check_options,
    load=load,
    facts=facts,
    export=export,
    train=(Training("icl_train", "speechlm_icl.train:icl_train", sources=("language_model",), resumes=True),),
    models=(
        TrainedModel(
            "speech-lm",
            "icl_train",
            stage="icl-train",
            requires=("ssl-e",),
            options=lambda models: {"encoder": str(models / "ssl-e" / "encoder")},
        ),
    ),
    needs={"speech-lm": ("speech-lm",)},
    check=check,
    check_episodes=check_episodes,
    numbered=("speech-lm",),
)
