"""Which models the methods of an experiment stand on, each trained as a stage of its own; what no listed
method needs is not trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.stages import Stages
from benchmarks.trivial_baselines import TRIVIAL
from meta_perser.baselines import TARGETS
from meta_perser.pretrain import pretrain
from meta_perser.train import meta_train
from speechlm_icl.train import icl_train


@dataclass(frozen=True)
class Recipe:
    """What is trained, and with which options; the corpus, the episodes and the folders come with a turn."""

    methods: Sequence[str]
    encoder: str
    pretrain: Mapping[str, Any]
    meta_train: Mapping[str, Mapping[str, Any]]
    """Options by the model's folder: `meta-perser`, and one a variant."""
    icl_train: Mapping[str, Any]

    def needs(self, model: str) -> bool:
        """Whether a listed method stands on the model of this folder."""
        if model == "ssl-e":
            return any(method not in (*TRIVIAL, *TARGETS) for method in self.methods)
        if model == "speech-lm":
            return any(method.startswith(model) for method in self.methods)
        return any(method.replace(":", "-") == model for method in self.methods)


def train(
    recipe: Recipe, stages: Stages, turn: str, models: Path, given: Mapping[str, Any]
) -> tuple[str, ...]:
    """Train what the methods need into `models`; gives the names of the stages, which begin with `turn`.

    `given`: the options that all training shares: corpus, episodes, cache, seed.
    """
    ssl_e, pretraining = models / "ssl-e", {**recipe.pretrain, **given, "encoder": recipe.encoder}
    if "lora-few" in recipe.methods and pretraining["lora"] is None:
        pretraining |= {"lora": "lora"}
    drawn, pretrained = ("prepare", f"{turn}episodes"), f"{turn}pretrain"
    trained = []

    def run(name: str, *stage: Any, **how: Any) -> None:
        stages.run(name, *stage, resumes=True, **how)
        trained.append(name)

    if recipe.needs("ssl-e"):
        options = pretraining | {"out": ssl_e}
        run(pretrained, pretrain, options, after=drawn, sources=("encoder",))
    for model, options in recipe.meta_train.items():
        if recipe.needs(model):
            options = {**options, **given, "ssl_e": ssl_e, "out": models / model}
            run(
                f"{turn}{model.replace('meta-perser', 'meta-train')}",
                meta_train,
                options,
                after=(pretrained,),
            )
    if recipe.needs("speech-lm"):
        heard_by = {"encoder": str(ssl_e / "encoder"), "out": models / "speech-lm"}
        options = {**recipe.icl_train, **given, **heard_by}
        run(f"{turn}icl-train", icl_train, options, after=(pretrained,), sources=("language_model",))
    for target in (target for method, target in TARGETS.items() if method in recipe.methods):
        options = pretraining | {"out": models / target, "target": target}
        run(f"{turn}pretrain {target}", pretrain, options, after=drawn, sources=("encoder",))
    return tuple(trained)
