"""python -m meta_perser.pretrain --corpus DIR --episodes episodes.json --out ssl-e

Supervised training on the training listeners: SSL-E (Meta-PerSER 2.3.1), which every personalized model
starts from, and the models of the baselines Linear-Few and Multi-Few.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from meta_perser.adaptation.adaptation_loss import class_balanced_loss, training_class_weights
from meta_perser.adaptation.meta_trained import RATES_FILE
from meta_perser.adaptation.personalizer import NewHeadPersonalizer
from meta_perser.options import CONFIG, EACH, PretrainOptions, Target, check_trains
from meta_perser.recognizer.batches import ClipSource, standardize
from meta_perser.recognizer.checkpoint import recognizer_of
from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.scope import check_scope, lowest_trainable_layer
from meta_perser.training.initialization import adjustment
from meta_perser.training.multi_head import Consensus, MultiHead
from meta_perser.training.supervised import (
    aggregated_examples,
    examples_by_listener,
    train_supervised,
    unadapted_validation,
)
from meta_perser.training.tuning import FRESH_RATES, Tuner
from perser.cli.command import Command
from perser.cli.main import run_command
from perser.corpora.corpus import Corpus
from perser.encoders.classifier import check_classifier
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.loading import check_encoder
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.training.accelerator import start_accelerator
from perser.training.loop import Validation
from perser.training.options import RunOptions
from perser.training.run import open_training_run
from perser.training.run_folder import check_training_outputs


def pretrain(
    corpus: Path,
    episodes: Path,
    out: Path,
    cache: Path = Path("runs/cache"),
    encoder: str = "tiny-whisper",
    target: Target = "ssl-e",
    from_model: str | None = None,
    resume: bool = True,
    run: RunOptions = RunOptions(),
    **training: Any,
) -> None:
    """Train SSL-E, the recognizer of the average listener, or the model of another baseline.

    Args:
        corpus: a prepared corpus.
        episodes: the episodes file; its training persons and utterances are used, and its validation episodes
            choose the best step.
        out: folder for the trained recognizer.
        cache: folder of the feature cache.
        encoder: a Hub name, a local folder, or tiny-{wav2vec2,hubert,wavlm,data2vec,whisper,unispeech-sat,
            sew,wav2vec2-bert,ast}.
        target: ssl-e, on labels aggregated over the listeners; linear, the same on the frozen, pretrained
            encoder (for linear-few); multi, a head for each listener on a shared encoder (for multi-few).
        from_model: (or --from) an audio classifier of transformers to begin with, instead of an encoder: a
            folder or a Hub name; --epochs 0 leaves it as it is.
        resume: go on from the newest checkpoint in OUT-running, if the same training was stopped there.
        run: checkpoints, the limit of bad steps, and the tracker.
        **training: the fields of `PretrainOptions`.

    Examples:
        perser pretrain --corpus runs/mine/corpus --episodes runs/mine/episodes.json
            --out runs/mine/models/ssl-e
    """
    try:
        options = PretrainOptions(**training)
    except ValueError as error:
        raise UserError(str(error)) from error
    check_scope(options.scope)
    begun_from = _check_start(encoder, from_model, target, options)
    check_training_outputs(out, CONFIG, cache)
    if (out / RATES_FILE).exists():
        raise UserError(f"out: {out} is the folder of a meta-trained model: give another one, or remove it")
    accelerator = start_accelerator(options.seed)
    torch.manual_seed(options.seed)  # the same weights in every process
    prepared, drawn = Corpus.load(corpus), EpisodeFile.load(episodes)
    tasks, emotions = drawn.training_tasks(prepared), prepared.emotions
    class_weights = torch.ones(len(emotions))
    if options.class_balanced:
        class_weights = training_class_weights(tasks, emotions)
    loss = class_balanced_loss(class_weights, options.label_smoothing)
    examples = (examples_by_listener if target == "multi" else aggregated_examples)(tasks, emotions)
    model = _start(target, encoder, from_model, prepared.emotions, options).to(accelerator.device)
    # First what the training reads: where that is the front-end's frames, the rest is computed from them.
    adjust = adjustment(options.standardize, prepared, tasks)
    source = ClipSource(prepared.recordings, model, cache, adjust)
    if options.standardize and from_model is None:
        standardize(model, examples.utterances, prepared.recordings, cache, adjust)
    learner: EmotionRecognizer | MultiHead = model
    average: EmotionRecognizer | Consensus = model
    fresh = [*model.parameters()] if target == "linear" else []
    if target == "multi":
        learner = MultiHead(model, len(tasks)).to(accelerator.device)
        average = Consensus(learner)
        fresh = [*learner.projector.parameters(), *learner.classifier.parameters()]
    trained = {"target": target, "options": options, "encoder": begun_from, "begun_from": model.fingerprint()}
    trained_on = drawn.trained_on(prepared, [begun_from])
    training_run = open_training_run(
        "pretrain", out, prepared, episodes, accelerator, run, resume, trained_on, **trained
    )

    def validate() -> Validation:
        return unadapted_validation(average, source, drawn.validation_episodes, emotions, options.selection)

    title = f"pretrain {target}"
    best = train_supervised(
        learner,
        examples,
        source,
        loss,
        validate,
        options,
        accelerator,
        title,
        training_run,
        fresh,
        validate_first=from_model is not None,
    )
    tuner = Tuner(
        prepared,
        cache,
        loss,
        options.adaptation_steps,
        drawn.validation_episodes,
        options.selection,
        adjust,
    )
    tuned = tune(target, model, tuner, options.lora)
    if not accelerator.is_main_process:
        return
    with training_run.finished(out, marker=CONFIG) as folder:
        model.save_pretrained(
            folder,
            encoder={"name": begun_from, "seed": options.seed},
            trained_on=drawn.training_digest,
            class_weights=class_weights.tolist(),
            label_smoothing=options.label_smoothing,
            standardize=options.standardize,
            best_step=best.step,
            **{f"validation_{options.selection.lower()}": abs(best.score)},
            adaptation_steps=options.adaptation_steps,
            **tuned,
        )


def _check_start(encoder: str, from_model: str | None, target: Target, options: PretrainOptions) -> str:
    """Return what the training begins from, an encoder or a classifier.

    Raises UserError for one that cannot be used, and for options that do not fit it.
    """
    if from_model is None:
        check_trains(options.epochs, options.steps)
        check_encoder(encoder)
        return encoder
    if target != "ssl-e":
        raise UserError(f"target: {target} begins from a plain encoder: give --encoder, not --from")
    if options.standardize == EACH:
        raise UserError("standardize: a classifier (--from) reads its states as they are: give true or false")
    if options.frame_window > 1:
        raise UserError("frame_window: it would change the answers of a classifier (--from): give 1")
    check_classifier(from_model)
    return from_model


def _start(
    target: Target, encoder: str, from_model: str | None, emotions: EmotionSet, options: PretrainOptions
) -> EmotionRecognizer:
    """Return the recognizer that the training begins with: a classifier, or a new head on an encoder."""
    if from_model is None:
        model = _new_recognizer(target, encoder, emotions, options)
    else:
        is_trained = options.epochs > 0 or options.steps is not None
        model = recognizer_of(from_model, emotions, options.scope, options.logit_scale, is_trained)
    if options.lora is not None:
        model.lowest_layer_of(options.lora)  # refuses it now, not after hours of training
    return model


def _new_recognizer(
    target: Target, encoder: str, emotions: EmotionSet, options: PretrainOptions
) -> EmotionRecognizer:
    """Return an untrained recognizer."""
    speech_encoder = SpeechEncoder.from_name(encoder, seed=options.seed)
    scope = "head" if target == "linear" else options.scope
    return EmotionRecognizer(
        speech_encoder,
        emotions,
        scope,
        options.head_size,
        lowest_trainable_layer(scope, speech_encoder.num_layers),
        options.frame_window,
        options.logit_scale,
    )


def tune(target: Target, model: EmotionRecognizer, tuner: Tuner, lora: str | None) -> dict[str, object]:
    """Choose what the baselines on this model need: a learning rate for each scope, and the strengths
    of Prior-Shift and Bias-Scale.

    The keys are those that `meta_perser.baselines` reads. Each scope is tuned once.
    """
    if target == "linear":
        return {"fine_tune": {"head": tuner.fine_tuning(model, "head")}}
    if target == "multi":
        tuned = tuner.fine_tuning(model, "linears", FRESH_RATES, NewHeadPersonalizer)
        return {"fine_tune": {"linears": tuned}}
    trained_scope = model.scope
    by_scope = {scope: tuner.fine_tuning(model, scope) for scope in dict.fromkeys((trained_scope, "head"))}
    parts = {"entire": by_scope[trained_scope], "head": by_scope["head"]}
    if lora is not None:
        parts["lora"] = tuner.fine_tuning(model, lora, FRESH_RATES)
    return {"fine_tune": parts} | tuner.recalibration(model)


COMMAND = Command(pretrain, processes=True)

if __name__ == "__main__":
    run_command(COMMAND)
