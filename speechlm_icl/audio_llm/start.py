"""Begin the meta-training of a ready audio LLM: what it refuses, and the model with a new adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from perser.encoders.loading import read_config
from perser.episodes.episode import Task
from perser.errors import UserError
from perser.io.hub import find_model, trained_model_folder
from perser.io.json_files import read_json
from perser.labels import EmotionSet
from perser.training.sharding import is_sharded
from speechlm_icl.audio_llm.checkpoint import (
    KIND,
    adapted_layers,
    check_adaptable,
    load_checkpoint,
    load_structure,
)
from speechlm_icl.audio_llm.families import TRAINED, is_audio_llm
from speechlm_icl.audio_llm.learner import AudioLearner, check_longest_fits
from speechlm_icl.audio_llm.model import AudioLLM
from speechlm_icl.audio_llm.trained import TrainedConfig, add_binding, family_of_name, wording_of
from speechlm_icl.model.base_model import GGUF, TINY_LLAMA
from speechlm_icl.model.base_model import KIND as LANGUAGE_MODEL
from speechlm_icl.model.language_model import LanguageModel, LoraOptions, with_adapter
from speechlm_icl.model.revisions import revision_of
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.training.options import IclOptions

DEFAULT_ENCODER = "tiny-whisper"
"""The encoder of `perser icl-train` where none is given."""


def is_audio_llm_name(name: str) -> bool:
    """Return whether a language model's name is that of a ready audio LLM, by its config.json alone.

    Raises UserError for a name of no model, and for a model that was meta-trained already.
    """
    if name == TINY_LLAMA or name.endswith(GGUF):
        return False
    if (Path(name).expanduser() / TRAINED).is_file():
        raise UserError(f"'{name}' was meta-trained already: give the {KIND} that it was made of")
    source = find_model(name, LANGUAGE_MODEL, TINY_LLAMA)
    if source.is_folder:
        return is_audio_llm(read_json(Path(source.path) / "config.json"))
    where = {"local_files_only": source.offline}
    return is_audio_llm(read_config(name, source, where, LANGUAGE_MODEL, TINY_LLAMA))


def check_start(
    name: str,
    lora: LoraOptions,
    prompt: PromptOptions,
    encoder: str,
    projector: ProjectorOptions,
    options: IclOptions,
) -> None:
    """Raise UserError for an audio LLM that cannot be meta-trained, and for options that it does not have.
    Loads no weights."""
    own = IclOptions()
    unused = {
        "encoder": encoder != DEFAULT_ENCODER,
        "projector": projector != ProjectorOptions(),
        "matched": options.matched,
        "opinion_pool": options.opinion_pool,
        "other_answers": options.other_answers,
        "standardize": options.standardize != own.standardize,
        "projector_steps": options.projector_steps not in (own.projector_steps, 0),
        "projector_learning_rate": options.projector_learning_rate != own.projector_learning_rate,
        "projector_mixup": options.projector_mixup != own.projector_mixup,
        "prompt.chat": prompt.chat is False,
        "prompt.separator": prompt.separator != PromptOptions().separator,
    }
    if given := [option for option, is_given in unused.items() if is_given]:
        raise UserError(
            f"{given[0]}: '{name}' is an {KIND}, which has its own audio tower, projector and chat template, "
            "and no such option: leave it out"
        )
    if is_sharded():
        raise UserError(
            f"language_model: '{name}' is an {KIND}, whose weights cannot be sharded here: launch with "
            "configs/accelerate/ddp.yaml"
        )
    if not family_of_name(name).several_clips:
        raise UserError(
            f"language_model: '{name}' takes one clip in a prompt, so it cannot learn to read others: "
            "give another model"
        )
    check_adaptable(trained_model_folder(name, KIND), name, lora)


def check_sequences_fit(
    name: str,
    emotions: EmotionSet,
    prompt: PromptOptions,
    tasks: Sequence[Task],
    pairs: int,
    duration: Callable[[str], float],
) -> None:
    """Raise UserError where the longest training sequence exceeds the context of a model; the arguments are
    those of `check_longest_fits`. Loads no weights."""
    model, chat, family = load_structure(trained_model_folder(name, KIND), name)
    llm = AudioLLM(model, chat, family, emotions, wording_of(prompt, emotions))
    check_longest_fits(llm, tasks, pairs, duration)


def new_learner(
    name: str, emotions: EmotionSet, lora: LoraOptions, prompt: PromptOptions, device: str
) -> tuple[AudioLearner, TrainedConfig]:
    """Return an audio LLM with a new adapter, on a device, and what its folder will say."""
    model, chat, family = load_checkpoint(trained_model_folder(name, KIND), name, device, lora.base_weights)
    model.requires_grad_(False)
    adapted = with_adapter(model, name, lora, adapted_layers(model, family, name, lora))
    binding = add_binding(model, family) if prompt.bind else None
    llm = AudioLLM(model, chat, family, emotions, wording_of(prompt, emotions), binding=binding)
    language_model = LanguageModel(adapted, chat.tokenizer, name, lora.base_weights)
    config = TrainedConfig(emotions, name, revision_of(name), prompt, lora)
    return AudioLearner(llm, language_model, prompt), config
