"""Load an audio LLM of transformers from a folder: its own processor and weights, and no code of its own."""

from __future__ import annotations

from pathlib import Path

import transformers
from transformers import AutoProcessor

from perser.device import loading_on
from perser.encoders.loading import check_rate, quiet_transformers, read_config
from perser.errors import UserError, reason_and_advice
from perser.io.hub import find_model, is_hub_name, refuse_pickles, trained_model_folder
from perser.io.json_files import read_json
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.chat import Chat
from speechlm_icl.audio_llm.families import METHOD, AudioFamily, family_of_config
from speechlm_icl.audio_llm.model import AudioLLM

KIND = "audio LLM"


def model_folder(context: RouteContext) -> Path:
    """Return the folder of the model that follows the colon in a method's name (`audio-llm:NAME`).

    NAME is that of a folder `audio-llm-NAME` among the models, a folder, or a name on the Hub; without it,
    the model is in the folder `audio-llm`. Raises UserError where there is no such model.
    """
    inside = context.folder(METHOD)
    if context.ablation is None or inside.is_dir():
        if not inside.is_dir():
            raise UserError(
                f"{METHOD}: say which model, as in {METHOD}:Qwen/Qwen2-Audio-7B-Instruct, or put one into "
                f"{inside}"
            )
        return inside
    folder = trained_model_folder(context.ablation, KIND)
    context.opened.add(str(folder.resolve()))  # so that a changed model is measured again
    return folder


def check_named(context: RouteContext) -> AudioFamily:
    """Return the family of the model that a method's name names, by its config.json alone: of a model on the
    Hub, nothing else is downloaded. Raises UserError as `model_folder` and `check_folder` do."""
    name = context.ablation
    if (
        name is None
        or context.folder(METHOD).is_dir()
        or Path(name).expanduser().exists()
        or not is_hub_name(name)
    ):
        return check_folder(model_folder(context), name or str(context.folder(METHOD)))
    source = find_model(name, KIND, "")
    config = read_config(name, source, {"local_files_only": source.offline}, KIND, "")
    return family_of_config(config, name)


def check_folder(folder: Path, name: str) -> AudioFamily:
    """Return the family of the model in a folder. Raises UserError for a model of another kind, or one whose
    weights can run code. Loads nothing."""
    config = read_json(folder / "config.json")
    if config is None:
        raise UserError(f"'{name}' is not an {KIND}: {folder} has no config.json that can be read")
    family = family_of_config(config, name)
    refuse_pickles(folder, KIND)
    return family


def load_audio_llm(folder: Path, emotions: EmotionSet, name: str = "", device: str = "cpu") -> AudioLLM:
    """Load the model in a folder, in the number format of its weights.

    `name` is for messages; the folder when empty. Raises UserError as `check_folder` does, and for a
    processor or weights that cannot be loaded.
    """
    name = name or str(folder)
    family = check_folder(folder, name)
    try:
        with quiet_transformers(progress=False):
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            with loading_on(device):
                model, report = getattr(transformers, family.model_class).from_pretrained(
                    folder,
                    dtype="auto",
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
    except Exception as error:  # a damaged folder can make the libraries raise any exception
        raise UserError(f"cannot load the {KIND} '{name}': {reason_and_advice(error)}") from error
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        raise UserError(
            f"the weights of '{name}' lack {len(missing)} tensors, such as {missing[0]}: get the model again"
        )
    extractor = getattr(processor, "feature_extractor", None) or processor.audio_processor
    check_rate(name, extractor)
    if device != "cpu":
        model.to(device)
    return AudioLLM(model.eval(), Chat(processor, name, family.takes_text), family, emotions)
