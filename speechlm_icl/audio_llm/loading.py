"""Find and load an audio LLM: a ready one, or one that was meta-trained."""

from __future__ import annotations

from pathlib import Path

from perser.errors import UserError
from perser.io.hub import is_hub_name, trained_model_folder
from perser.labels import EmotionSet
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.checkpoint import KIND, check_checkpoint, load_checkpoint
from speechlm_icl.audio_llm.families import METHOD, AudioFamily, family_of_config
from speechlm_icl.audio_llm.model import AudioLLM
from speechlm_icl.audio_llm.trained import check_trained, config_of, load_trained, read_trained


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
    return family_of_config(config_of(name), name)


def check_folder(folder: Path, name: str) -> AudioFamily:
    """Return the family of the model in a folder, or of its base if it was meta-trained.

    Raises UserError for a model of another kind, one whose weights can run code, and a base that is missing
    or has changed. Loads nothing.
    """
    trained = read_trained(folder)
    return check_checkpoint(folder, name) if trained is None else check_trained(trained, name)


def load_audio_llm(
    folder: Path, emotions: EmotionSet | None = None, name: str = "", device: str = "cpu"
) -> AudioLLM:
    """Load the model in a folder, in the number format of its weights, or of its training.

    Args:
        folder: The folder.
        emotions: What answers choose from; None for those of a model that was meta-trained.
        name: For messages; the folder when empty.
        device: Where it computes.

    Raises UserError as `check_folder` does, and for a processor or weights that cannot be loaded.
    """
    name = name or str(folder)
    trained = read_trained(folder)
    if trained is not None:
        llm = load_trained(trained, folder, name, device)
        return llm if emotions in (None, llm.emotions) else llm.with_labels(emotions)
    if emotions is None:
        raise ValueError("a ready audio LLM has no emotions of its own")
    model, chat, family = load_checkpoint(folder, name, device)
    return AudioLLM(model, chat, family, emotions)
