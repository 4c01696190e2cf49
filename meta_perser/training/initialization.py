"""The recognizer that meta-training begins with (INI, Meta-PerSER 2.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from meta_perser.adaptation.adaptation_loss import WeightedLoss, class_balanced_loss
from meta_perser.adaptation.lslr import Initial, Rates, make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.proximal.head import initial_strengths
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.options import EACH, Init, InnerOptions, LslrOptions, Moves
from meta_perser.recognizer.batches import Adjust, ClipSource, standardize
from meta_perser.recognizer.head import is_of_head
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.corpora.corpus import Corpus
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import AudioSource
from perser.episodes.episode import Task
from perser.episodes.part_standardization import standardized_by_part
from perser.errors import UserError

TuneHead = Callable[[EmotionRecognizer, WeightedLoss], float]
"""Returns the learning rate with which the head of a recognizer adapts best."""


def adjustment(standardize: object, corpus: Corpus, tasks: Sequence[Task]) -> Adjust | None:
    """Return what a training's option `standardize` does with the clips before a model reads them."""
    return partial(standardized_by_part, corpus=corpus, tasks=tasks) if standardize == EACH else None


def initial_meta_perser(
    ssl_e: Path,
    init: Init,
    scope: str,
    inner: InnerOptions,
    lslr: LslrOptions,
    tasks: Sequence[Task],
    recordings: AudioSource,
    cache: Path,
    device: torch.device,
    tune_fresh_head: TuneHead | None = None,
    adjust: Adjust | None = None,
) -> MetaPerSER:
    """Return Meta-PerSER before meta-training: SSL-E, or the plain encoder with a fresh head, and initial
    rates; with the proximal solver, Prior-Shift's strengths (`initial_strengths`).

    Either way the weights of the loss, and the initial rate where `inner.rate` is none, are those that SSL-E
    was trained and fine-tuned with. The rate of a fresh head is then the one that `tune_fresh_head` finds
    (None: that of SSL-E). With `inner.moves: classifier` all other rates are 0.

    `adjust`: as of `ClipSource`. Raises UserError where `ssl_e` holds another model.
    """
    extra = saved_settings(ssl_e)
    parts = extra.get("fine_tune", {})
    if "entire" not in parts:  # a meta-trained model, or that of Linear-Few or Multi-Few
        raise UserError(
            f"ssl_e: {ssl_e} holds another model: give the folder of `perser pretrain --target ssl-e`"
        )
    model = EmotionRecognizer.from_pretrained(ssl_e)
    class_weights = torch.tensor(extra["class_weights"], device=device)
    tuned = {part["scope"]: part["rate"] for part in parts.values()}
    rate = tuned.get(scope, parts["entire"]["rate"]) if inner.rate is None else inner.rate
    head_rate = rate
    if init == "encoder":
        model = _plain(model, ssl_e, extra, tasks, recordings, cache, device, adjust)
        if tune_fresh_head is not None and inner.rate is None:
            head_rate = tune_fresh_head(model, class_balanced_loss(class_weights, extra["label_smoothing"]))
    model.set_scope(scope)
    model.to(device)
    rates: Rates | Strengths
    if inner.solver == "proximal":
        source = ClipSource(recordings, model, cache, adjust)
        rates = initial_strengths(model, source, _utterances(tasks), extra["prior_strength"])
    else:
        names = list(model.trainable_parameters())
        initial = _initial_rates(names, rate, head_rate, inner.moves)
        rates = make_rates(names, inner.steps, initial, lslr)
    return MetaPerSER(
        model=model,
        rates=rates.to(device),
        lslr=lslr,
        inner_steps=inner.steps,
        adaptation_steps=inner.adaptation_steps,
        class_weights=class_weights,
        label_smoothing=extra["label_smoothing"],
    )


def _initial_rates(names: Sequence[str], rate: float, head_rate: float, moves: Moves) -> Initial:
    """Return the rate that everything starts with, or, where they differ, that of each tensor by name."""
    rates = {
        name: 0.0
        if moves == "classifier" and not name.startswith("classifier.")
        else head_rate
        if is_of_head(name)
        else rate
        for name in names
    }
    return rate if set(rates.values()) == {rate} else rates


def _plain(
    trained: EmotionRecognizer,
    ssl_e: Path,
    extra: dict[str, Any],
    tasks: Sequence[Task],
    recordings: AudioSource,
    cache: Path,
    device: torch.device,
    adjust: Adjust | None,
) -> EmotionRecognizer:
    """Return the encoder that SSL-E began from, with a fresh head of the same shape.

    Its hidden states are standardized on the training utterances where SSL-E's were.
    """
    if "encoder" not in extra:
        raise UserError(f"{ssl_e} does not say which encoder it began from: train it again for init: encoder")
    encoder = SpeechEncoder.from_name(extra["encoder"]["name"], seed=extra["encoder"]["seed"])
    model = EmotionRecognizer(
        encoder,
        trained.emotions,
        trained.scope,
        trained.projector.out_features,
        trained.kept_layers,
        trained.frame_window,
        trained.log_scale is not None,
    ).to(device)
    if extra.get("standardize", True):
        standardize(model, _utterances(tasks), recordings, cache, adjust)
    return model


def _utterances(tasks: Sequence[Task]) -> list[str]:
    return sorted({utterance for task in tasks for utterance in task.utterances})
