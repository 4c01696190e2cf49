"""Save and load an audio LLM that was meta-trained. Its folder holds what was trained and names its base.

audio_llm.json         the emotions, the base and its revision, the prompt, the adapter's options
adapter/               the adapter, in peft's format
binding.safetensors    what binds pairs, where they are bound
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from perser.encoders.loading import read_config
from perser.errors import UserError, explain_damage
from perser.io.checksums import verify_checksums, write_checksums
from perser.io.hub import find_model, is_hub_name, trained_model_folder
from perser.io.json_files import read_json, write_json
from perser.io.model_facts import place_of
from perser.labels import EmotionSet
from speechlm_icl.audio_llm.binding import bind_pairs
from speechlm_icl.audio_llm.chat import Wording
from speechlm_icl.audio_llm.checkpoint import KIND, check_checkpoint, load_checkpoint
from speechlm_icl.audio_llm.families import TRAINED, AudioFamily, family_of_config
from speechlm_icl.audio_llm.model import AudioLLM
from speechlm_icl.model.binding import PairBinding
from speechlm_icl.model.language_model import ADAPTER_FOLDER, LanguageModel, LoraOptions, check_adapter
from speechlm_icl.model.revisions import check_revision, commit_of, portable_name, resolve_name
from speechlm_icl.prompt.prompt import PromptOptions, default_instruction

FORMAT = "perser-audio-llm-1"

BINDING = "binding.safetensors"

CHECKSUMMED = (TRAINED, BINDING, f"{ADAPTER_FOLDER}/*")
"""Files that checksums are written of."""


@dataclass(frozen=True)
class TrainedConfig:
    """What the folder of a trained model says.

    Args:
        emotions: What it answers with.
        base: Folder or Hub name of the audio LLM that it adapts.
        revision: The base's revision, where it is known (`speechlm_icl.model.revisions.revision_of`).
        prompt: How its prompts are worded, and whether pairs are bound.
        lora: The adapter's options.
    """

    emotions: EmotionSet
    base: str
    revision: str | None
    prompt: PromptOptions
    lora: LoraOptions

    def to_json(self) -> dict[str, Any]:
        """Return the content of its file, with the base's name as it is here."""
        return {
            "format": FORMAT,
            "emotions": list(self.emotions.names),
            "language_model": self.base,
            "language_model_revision": self.revision,
            "prompt": asdict(self.prompt),
            "lora": asdict(self.lora),
        }

    @property
    def wording(self) -> Wording:
        """How its prompts are worded."""
        return wording_of(self.prompt, self.emotions)


def wording_of(prompt: PromptOptions, emotions: EmotionSet) -> Wording:
    """Return the wording of a chat's prompts; without an instruction of its own, it has the default one."""
    words, joiner = tuple(prompt.words(emotions)), prompt.joiner
    own = default_instruction(words, joiner, chat=True)
    return Wording(own if prompt.instruction is None else prompt.instruction, words, joiner)


def read_trained(folder: Path) -> TrainedConfig | None:
    """Return what the folder of a trained model says; None for any other folder.

    Raises UserError where the file is damaged or of another version.
    """
    path = folder / TRAINED
    if not path.is_file():
        return None
    content = read_json(path)
    if content is None or content.get("format") != FORMAT:
        raise UserError(f"{path} is not of format '{FORMAT}': train the model with this version of perser")
    with explain_damage(str(path), "train the model again"):
        return TrainedConfig(
            EmotionSet(tuple(content["emotions"])),
            resolve_name(_text(content["language_model"]), folder),
            content["language_model_revision"],
            PromptOptions(**content["prompt"]),
            LoraOptions(**{**content["lora"], "targets": tuple(content["lora"]["targets"])}),
        )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("language_model must be a name")
    return value


def save_trained(
    config: TrainedConfig, language_model: LanguageModel, binding: PairBinding | None, folder: Path
) -> None:
    """Write a trained model into a folder that is there."""
    write_json(folder / TRAINED, config.to_json() | {"language_model": portable_name(config.base, folder)})
    language_model.save(folder)
    if binding is not None:
        state = {name: value.contiguous() for name, value in binding.state_dict().items()}
        save_file(state, folder / BINDING, metadata={"format": "pt"})
    write_checksums(folder, CHECKSUMMED)


def load_trained(config: TrainedConfig, folder: Path, name: str, device: str) -> AudioLLM:
    """Load a trained model. Raises UserError where its base is missing or has changed, or it is damaged."""
    intact = verify_checksums(folder)
    base = _base_folder(config, name)
    model, chat, family = load_checkpoint(base, name, device, config.lora.base_weights)
    check_adapter(folder / ADAPTER_FOLDER)
    from peft import PeftModel  # slow to import

    with explain_damage(f"the {KIND} in {folder}", "train it again", intact):
        adapted = PeftModel.from_pretrained(model, folder / ADAPTER_FOLDER).get_base_model()
        binding = None
        if config.prompt.bind:
            binding = add_binding(adapted, family)
            binding.load_state_dict(load_file(folder / BINDING))
    return AudioLLM(adapted.eval(), chat, family, config.emotions, config.wording, binding=binding)


def add_binding(model: PreTrainedModel, family: AudioFamily) -> PairBinding:
    """Let a model bind pairs, and return what binds them, on the model's device."""
    binding = PairBinding(model.get_input_embeddings().embedding_dim).to(model.device)
    bind_pairs(model, family, binding)
    return binding


def check_trained(config: TrainedConfig, name: str) -> AudioFamily:
    """Return the family of a trained model's base. Raises UserError where the base is missing or has changed.
    Loads nothing."""
    if commit_of(config.revision) is None:
        check_revision(config.base, config.revision, KIND)
    _check_base_is_there(config, name)
    return family_of_name(config.base)


def family_of_name(name: str) -> AudioFamily:
    """Return the family of a model by its config.json alone: of a model on the Hub, nothing else is
    downloaded. Raises UserError as `check_checkpoint` does."""
    path = Path(name).expanduser()
    if path.exists() or not is_hub_name(name):
        return check_checkpoint(trained_model_folder(name, KIND), name)
    return family_of_config(config_of(name), name)


def config_of(name: str) -> Mapping[str, Any]:
    """Return the config.json of a model on the Hub."""
    source = find_model(name, KIND, "")
    return read_config(name, source, {"local_files_only": source.offline}, KIND, "")


def _base_folder(config: TrainedConfig, name: str) -> Path:
    """Return the folder of a trained model's base, downloaded from the Hub if need be."""
    check_trained(config, name)
    commit = commit_of(config.revision)
    if commit is None:
        return trained_model_folder(config.base, KIND)
    return trained_model_folder(config.base, KIND, revision=commit)


def _check_base_is_there(config: TrainedConfig, name: str) -> None:
    if place_of(config.base, commit_of(config.revision)) == "missing":
        raise UserError(f"the {KIND} '{config.base}' that the model '{name}' needs is gone: put it back")
