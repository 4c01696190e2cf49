"""The route `meta-perser`, an entry point of `perser.routes`: Meta-PerSER and the gradient baselines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meta_perser.options import CONFIG, LAST, PretrainOptions, check_standardization, check_trains
from meta_perser.scope import check_scope, check_solver, check_window
from perser.errors import UserError
from perser.installed_routes import RECALIBRATIONS
from perser.io.emotion_names import emotion_words
from perser.io.json_files import read_json
from perser.io.model_facts import SPEECH_TYPES, ModelFacts, emotions_in, is_published_classifier
from perser.personalizer import ablation_folder
from perser.route import Options, Route, TrainedModel, Training, check_fields

if TYPE_CHECKING:
    from meta_perser.inference import GradientModel
    from perser.corpora.corpus import Corpus
    from perser.episodes.episode_file import EpisodeFile
    from perser.route import Exported

SSL_E = ("ssl-e",)


def load(folder: Path) -> GradientModel | None:
    """Return the model that `perser meta-train` or `perser pretrain` wrote to a folder, or an audio
    classifier of transformers, or None."""
    if not (folder / CONFIG).is_file() and not is_classifier_folder(folder):
        return None
    from meta_perser.inference import load_model

    return load_model(folder)


def is_classifier_folder(folder: Path) -> bool:
    """Return whether transformers wrote a folder with a speech model, or with any classifier."""
    return not (folder / CONFIG).is_file() and is_published_classifier(read_json(folder / "config.json"))


def facts(folder: Path) -> ModelFacts | None:
    """Return what the files of such a folder say; it holds its own encoder, or names one."""
    config = read_json(folder / CONFIG)
    if config is None:
        return _facts_of_classifier(folder)
    extra = config.get("extra")
    trained_on = extra.get("trained_on") if isinstance(extra, dict) else None
    named = config.get("encoder")
    needs = {named["name"]: None} if isinstance(named, dict) and isinstance(named.get("name"), str) else {}
    return ModelFacts("meta-perser", emotions_in(config), needs, trained_on)


def _facts_of_classifier(folder: Path) -> ModelFacts | None:
    """Return what transformers' folder with an audio classifier of emotions says; None for any other."""
    published = read_json(folder / "config.json") or {}
    labels = published.get("id2label")
    if not (is_classifier_folder(folder) and published.get("model_type") in SPEECH_TYPES):
        return None
    if not isinstance(labels, dict) or not str(published.get("architectures")).endswith("Classification']"):
        return None
    try:
        words = emotion_words([str(labels[str(number)]) for number in range(len(labels))], str(folder), "")
    except (KeyError, UserError):
        return None
    return ModelFacts("meta-perser", words, {}, is_published=True)


def check_episodes(folder: str, options: Options, corpus: Corpus, episodes: EpisodeFile) -> None:
    """Raise UserError where a training person of meta-training has too few examples."""
    if folder == "meta-perser":
        from meta_perser.training.outer_loop import OuterLoop

        switches = ("inner", "outer", "csmt", "derivative_annealing", "multi_step_loss")
        OuterLoop(**{switch: options[switch] for switch in switches}).check(episodes.training_tasks(corpus))


def check_models(method: str, models: Path, ablation: str | None) -> None:
    """Raise UserError where what LoRA-Few or Bias-Scale needs was not chosen when SSL-E was trained."""
    folder = models / ablation_folder("ssl-e", ablation)
    if method == "lora-few":
        from meta_perser.baselines import tuned_part

        tuned_part(folder, "lora")
    if method == "bias-scale":
        from meta_perser.baselines import chosen_priors

        chosen_priors(folder, "bias-scale")


def check_options(method: str, options: Sequence[str]) -> None:
    """Raise UserError for an option that a method does not have."""
    for option in options:
        if method != "meta-perser" or option != LAST:
            raise UserError(
                f"{method} has no option '+{option}': meta-perser has '+{LAST}', and any method may "
                f"be followed by +{' or +'.join(RECALIBRATIONS)}"
            )


def export(folder: Path, out: Path) -> Exported:
    """Write everything that the model in a folder needs to another (`Route.export`)."""
    from meta_perser.export_model import export_gradient_model

    return export_gradient_model(folder, out)


def with_lora(options: Options, methods: Sequence[str]) -> Options:
    """Return the options of `pretrain` with LoRA-Few's adapters where it is measured and they are left
    out."""
    if "lora-few" in methods and options["lora"] is None:
        return {**options, "lora": "lora"}
    return options


def check(options: Mapping[str, Options], models: Collection[str]) -> None:
    """Raise UserError for options of `pretrain` and `meta_train` that are known to fail."""
    pretrain, meta_scope = options["pretrain"], options["meta_train"]["scope"]
    check_scope(pretrain["scope"])
    for scope in (pretrain["lora"] or pretrain["scope"], meta_scope):
        check_window(scope, pretrain["scope"], pretrain["frame_window"])
    check_solver(options["meta_train"]["inner"].solver, meta_scope)
    check_fields(PretrainOptions, "pretrain", pretrain)
    check_standardization(pretrain["standardize"], meta_scope)
    if pretrain["from_model"] is None:
        check_trains(pretrain["epochs"], pretrain["steps"])


def _target(target: str) -> Options:
    """Return the options of a model that begins from a plain encoder, whatever SSL-E begins from."""
    return {"target": target, "from_model": None}


ROUTE = Route(
    name="meta-perser",
    methods={
        "prior-shift": "meta_perser.baselines:prior_shift",
        "bias-scale": "meta_perser.baselines:bias_scale",
        "entire-zero": "meta_perser.baselines:entire_zero",
        "entire-few": "meta_perser.baselines:entire_few",
        "entire-sim": "meta_perser.baselines:entire_sim",
        "head-few": "meta_perser.baselines:head_few",
        "linear-few": "meta_perser.baselines:linear_few",
        "lora-few": "meta_perser.baselines:lora_few",
        "multi-few": "meta_perser.baselines:multi_few",
        "meta-perser": "meta_perser.baselines:meta_perser",
    },
    load=load,
    facts=facts,
    export=export,
    train=(
        Training(
            "pretrain",
            "meta_perser.pretrain:pretrain",
            shared=("corpus", "episodes", "cache", "seed", "encoder"),
            sources=("encoder", "from_model"),
            resumes=True,
            complete=with_lora,
        ),
        Training("meta_train", "meta_perser.train:meta_train", resumes=True),
    ),
    models=(
        TrainedModel("ssl-e", "pretrain", stage="pretrain"),
        TrainedModel(
            "meta-perser",
            "meta_train",
            stage="meta-train",
            requires=SSL_E,
            options=lambda models: {"ssl_e": models / "ssl-e"},
        ),
        TrainedModel("linear", "pretrain", stage="pretrain linear", options=lambda models: _target("linear")),
        TrainedModel("multi", "pretrain", stage="pretrain multi", options=lambda models: _target("multi")),
    ),
    needs={
        "prior-shift": SSL_E,
        "bias-scale": SSL_E,
        "entire-zero": SSL_E,
        "entire-few": SSL_E,
        "entire-sim": SSL_E,
        "head-few": SSL_E,
        "linear-few": ("linear",),
        "lora-few": SSL_E,
        "multi-few": ("multi",),
        "meta-perser": ("meta-perser",),
    },
    check=check,
    check_options=check_options,
    check_episodes=check_episodes,
    check_models=check_models,
    numbered=(),
    learn_labels=(
        *("entire-few", "entire-sim", "head-few", "linear-few", "lora-few", "multi-few"),
        "meta-perser",
    ),
)
