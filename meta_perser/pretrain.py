"""python -m meta_perser.pretrain --corpus DIR --episodes episodes.json --out ssl-e

Supervised training on the training listeners: SSL-E (Meta-PerSER 2.3.1), what every personalized model starts
from, and the models of the baselines Linear-Few and Multi-Few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from meta_perser.adaptation.loss import class_balanced_loss, training_class_weights
from meta_perser.adaptation.meta_trained import RATES
from meta_perser.adaptation.personalizer import NewHeadPersonalizer, Unadapted
from meta_perser.options import CONFIG
from meta_perser.recognizer.batches import ClipSource, standardize
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.recognizer.scope import lora_rank, lowest_moving_layer
from meta_perser.training.multi_head import Consensus, MultiHead
from meta_perser.training.supervised import (
    FitOptions,
    SupervisedExamples,
    aggregated_examples,
    examples_by_listener,
    fit,
)
from meta_perser.training.tuning import FRESH_RATES, Tuner
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.encoders.encoder import SpeechEncoder
from perser.episodes.episode import Task
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.io.files import check_output
from perser.labels import EmotionSet
from perser.personalizer import mean_score
from perser.training.accelerator import start
from perser.training.options import RunOptions
from perser.training.run import open_training_run

Target = Literal["ssl-e", "linear", "multi"]


@dataclass(frozen=True)
class Pretraining:
    """How a recognizer is pretrained.

    Args:
        scope: what is trained: all (trunk and head), top_layers:N, lora:R:N, head or
            linears; a linear target's is head.
        head_size: width of the first of the two linear layers.
        frame_window: frames (of 20 ms) whose mean enters the layers that are trained, here and in everything
            that starts from this model: they are about so many times cheaper; 1: every frame, as the paper.
        logit_scale: multiply the logits by a learned scale, which moves with the head in all that starts from
            this model (not in the paper): one number for how sharply a person tells emotions apart.
        epochs: passes over the training utterances.
        batch_size: utterances a step, over all processes.
        learning_rate: of AdamW, with warm-up and cosine decay.
        weight_decay: of AdamW.
        label_smoothing: share of every target that is spread over all emotions (EMO-SUPERB: 0.05).
        class_balanced: rare emotions weigh more in the loss, here and in everything that starts from this
            model (Cui et al. 2019; the paper's); false: every utterance weighs the same.
        adaptation_steps: gradient steps of the fine-tuning baselines, whose rates are chosen here on
            validation episodes.
        lora: LoRA-Few's adapters on SSL-E, lora:R of rank R or lora:R:N on the N highest layers alone; none:
            its rate is not chosen, and it cannot be measured.
        seed: of weights and batches.
    """

    scope: str = "all"
    head_size: int = 256
    frame_window: int = 1
    logit_scale: bool = False
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    class_balanced: bool = True
    adaptation_steps: int = 50
    lora: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("head_size", "frame_window", "epochs", "batch_size", "adaptation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}, give at least 1")
        for name in ("learning_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)}, give at least 0")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing: {self.label_smoothing}, give at least 0 and less than 1")
        if self.frame_window > 1 and self.scope in ("all", "head", "linears"):
            raise ValueError(f"frame_window: {self.frame_window} needs scope top_layers:N or lora:R:N")
        if self.lora is not None and lora_rank(self.lora) is None:
            raise ValueError(f"lora: '{self.lora}', give lora:R, lora:R:N or none")

    @property
    def fitting(self) -> FitOptions:
        return FitOptions(self.epochs, self.batch_size, self.learning_rate, self.weight_decay, seed=self.seed)


def pretrain(
    corpus: Path,
    episodes: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    encoder: str = "tiny-whisper",
    target: Target = "ssl-e",
    resume: bool = True,
    run: RunOptions = RunOptions(),
    **training: Any,
) -> None:
    """Train SSL-E, the recognizer of the average listener, or the model of another baseline.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file; its training persons and utterances are used, its validation episodes
            choose the epoch.
        out: folder for the trained recognizer.
        cache: folder of the feature cache.
        encoder: a Hub name, a local folder, or tiny-{wav2vec2,hubert,wavlm,data2vec,whisper}.
        target: ssl-e, on labels aggregated over the listeners; linear, the same with the encoder as it
            comes (for linear-few); multi, a head for each listener on a shared encoder (for multi-few).
        resume: go on from the newest checkpoint in OUT-running, if the same training was stopped there.
        run: how it is kept safe while it goes on.
        **training: the fields of `Pretraining`.
    """
    try:
        options = Pretraining(**training)
    except ValueError as error:
        raise UserError(str(error)) from error
    check_output(out, CONFIG)
    if (out / RATES).exists():
        raise UserError(f"out: {out} is the folder of a meta-trained model: give another one, or remove it")
    accelerator = start(options.seed)
    torch.manual_seed(options.seed)  # the same weights in every process
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    tasks = drawn.training_tasks(prepared)
    class_weights = _class_weights(tasks, prepared.emotions, options.class_balanced)
    loss = class_balanced_loss(class_weights, options.label_smoothing)
    examples = (examples_by_listener if target == "multi" else aggregated_examples)(tasks, prepared.emotions)
    model = _new_recognizer(target, encoder, prepared, cache, examples, options, accelerator.device)
    source = ClipSource(prepared.recordings, model, cache)
    learner, average = model, model
    if target == "multi":
        learner = MultiHead(model, len(tasks)).to(accelerator.device)
        average = Consensus(learner)

    facts = {"target": target, "options": options, "encoder": encoder, "begun_from": model.fingerprint()}
    training_run = open_training_run("pretrain", out, prepared, episodes, accelerator, run, resume, **facts)

    def validate() -> float:
        return mean_score(Unadapted(average, source), drawn.validation_episodes, prepared.emotions)

    title = f"pretrain {target}"
    best = fit(learner, examples, source, loss, validate, options.fitting, accelerator, title, training_run)
    tuner = Tuner(prepared, cache, loss, options.adaptation_steps, drawn.validation_episodes)
    tuned = tune(target, model, tuner, options.lora)
    if not accelerator.is_main_process:
        return
    with training_run.finished(out, marker=CONFIG) as folder:
        model.save_pretrained(
            folder,
            encoder={"name": encoder, "seed": options.seed},
            trained_on=drawn.training_digest,
            class_weights=class_weights.tolist(),
            label_smoothing=options.label_smoothing,
            best_epoch=best.step,
            validation_maf1=best.score,
            adaptation_steps=options.adaptation_steps,
            **tuned,
        )


def _class_weights(tasks: Sequence[Task], emotions: EmotionSet, balanced: bool) -> Tensor:
    """How much each emotion weighs in the loss (num_emotions,)."""
    return training_class_weights(tasks, emotions) if balanced else torch.ones(len(emotions))


def _new_recognizer(
    target: Target,
    encoder: str,
    corpus: Corpus,
    cache: Path,
    examples: SupervisedExamples,
    options: Pretraining,
    device: torch.device,
) -> EmotionRecognizer:
    """An untrained recognizer on the device, where it has encoded the corpus; its hidden states are
    standardized by the training utterances."""
    speech_encoder = SpeechEncoder.from_name(encoder, seed=options.seed)
    scope = "head" if target == "linear" else options.scope
    model = EmotionRecognizer(
        speech_encoder,
        corpus.emotions,
        scope,
        options.head_size,
        lowest_moving_layer(scope, speech_encoder.num_layers),
        options.frame_window,
        options.logit_scale,
    )
    if options.lora is not None:
        model.lowest_layer_of(options.lora)  # refused before hours of training, not after
    model.to(device)
    standardize(model, examples.utterances, corpus.recordings, cache)
    return model


def tune(target: Target, model: EmotionRecognizer, tuner: Tuner, lora: str | None) -> dict[str, object]:
    """What the baselines on this model are owed, by the names that `meta_perser.baselines` reads: scope and
    rate of each that takes gradient steps, and Prior-Shift's strength. Each scope is tuned once."""
    if target == "linear":
        return {"fine_tune": {"head": tuner.fine_tuning(model, "head")}}
    if target == "multi":
        return {
            "fine_tune": {"linears": tuner.fine_tuning(model, "linears", FRESH_RATES, NewHeadPersonalizer)}
        }
    trained = model.scope
    tuned = {scope: tuner.fine_tuning(model, scope) for scope in dict.fromkeys((trained, "head"))}
    parts = {"entire": tuned[trained], "head": tuned["head"]}
    if lora is not None:
        parts["lora"] = tuner.fine_tuning(model, lora, FRESH_RATES)
    return {"fine_tune": parts, "prior_strength": tuner.prior_strength(model)}


if __name__ == "__main__":
    run_command(pretrain)
