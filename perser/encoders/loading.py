"""Load a speech encoder by name: a tiny random one, a transformers folder, or a model on the Hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils import logging as transformers_logging

from perser.audio import ACCEPTED_RATES, SAMPLE_RATE
from perser.device import MAKING_A_MODEL, seeded
from perser.encoders.families import FAMILIES, family_of
from perser.encoders.family import Family
from perser.errors import UserError, reason_and_advice, unknown
from perser.io.hub import ModelSource, find_model, out_of_reach, refuse_pickles
from perser.io.model_facts import is_built_in
from perser.starter import place_of_encoder

TINY_NAMES: dict[str, str] = {
    f"tiny-{'ast' if kind == 'audio-spectrogram-transformer' else kind.removesuffix('-audio')}": kind
    for kind in FAMILIES
}
"""The built-in encoders, made on the spot with random weights: name to model type."""

LoadedEncoder = tuple[PreTrainedModel, SequenceFeatureExtractor, Family]

# All of these are set to 0. During the few gradient steps of adaptation, dropout, layer drop and masking
# would add noise to second-order gradients and leave parameters unused.
_RANDOMNESS = (
    "activation_dropout",
    "attention_dropout",
    "decoder_layerdrop",
    "dropout",
    "encoder_layerdrop",
    "feat_proj_dropout",
    "feat_quantizer_dropout",
    "final_dropout",
    "hidden_dropout",
    "layerdrop",
    "mask_feature_prob",
    "mask_time_prob",
)


def load_encoder(name: str, seed: int, commit: str | None = None) -> LoadedEncoder:
    """Return the transformers model (float32), its feature extractor and its family.

    `name` is as in `SpeechEncoder.from_name`. Raises UserError if it names no supported encoder.
    """
    if is_built_in(name):
        return _tiny(_known_tiny(name), seed)
    source = _find(name)
    with quiet_transformers(progress=not source.is_folder):
        return _pretrained(name, source, commit)


def check_encoder(name: str) -> None:
    """Raise UserError if the name is not that of a supported encoder. Loads no weights."""
    if is_built_in(name):
        _known_tiny(name)
    else:
        source = _find(name)
        _model_type(name, source, {"local_files_only": source.offline})


def _known_tiny(name: str) -> str:
    if name not in TINY_NAMES:
        raise unknown("tiny encoder", name, TINY_NAMES)
    return name


def _find(name: str) -> ModelSource:
    return find_model(place_of_encoder(name), "encoder", ", ".join(TINY_NAMES))


@contextmanager
def quiet_transformers(progress: bool = False) -> Iterator[None]:
    """Silence transformers' report on weights that are left out on purpose (heads, decoders).

    Its progress bars are hidden too, unless `progress` is set and there is a terminal. One thread at a time
    is in such a block (`MAKING_A_MODEL`): these settings are the same for all threads.
    """
    with MAKING_A_MODEL:
        verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        if not (progress and sys.stderr.isatty()):
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()


def _tiny(name: str, seed: int) -> LoadedEncoder:
    family = FAMILIES[TINY_NAMES[name]]
    config = without_randomness(family.config_class(**family.tiny_config))
    with seeded(seed):
        model = family.model_class(config)
        for parameter in family.zero_parameters(model):
            nn.init.normal_(parameter, std=0.5)
    return model, family.default_extractor(config), family


def _pretrained(name: str, source: ModelSource, commit: str | None) -> LoadedEncoder:
    where: dict[str, Any] = {"local_files_only": source.offline}
    where |= {} if commit is None else {"revision": commit}
    family = FAMILIES[_model_type(name, source, where)]
    if source.is_folder:
        refuse_pickles(Path(source.path), "encoder")
    with explain_loading("encoder", name):
        config = family.config_class.from_pretrained(source.path, **where)
        extractor = family.extractor_class.from_pretrained(source.path, **where)
        model, report = family.model_class.from_pretrained(
            source.path,
            config=without_randomness(config),
            dtype=torch.float32,
            key_mapping=family.key_mapping,
            use_safetensors=True,
            output_loading_info=True,
            **where,
        )
    refuse_missing(name, report)
    check_rate(name, extractor)
    return model, extractor, family_of(config)


@contextmanager
def explain_loading(kind: str, name: str) -> Iterator[None]:
    """Raise UserError, in one line, where a library cannot load a model. `kind`: what the model is."""
    try:
        yield
    except UserError:
        raise  # it says what is wrong already
    except Exception as error:  # a damaged folder can make the libraries raise any exception
        reason = reason_and_advice(error)
        if "ignore_mismatched_sizes" in reason:  # an option of transformers, whose report is not shown
            reason = "its weights have other shapes than its config.json says: get both of the same model"
        raise UserError(f"cannot load the {kind} '{name}': {reason}") from error


def refuse_missing(name: str, report: Mapping[str, Any], remedy: str = "get the model again") -> None:
    """Raise UserError where the weights of a model were incomplete.

    `report`: what `from_pretrained` says of how it loaded them. It fills those that are missing with random
    numbers.
    """
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the weights of '{name}' lack {len(missing)} tensors, such as {missing[0]}: {remedy}"
        )


def check_rate(name: str, extractor: SequenceFeatureExtractor) -> None:
    """Raise UserError for a model that wants more samples per second than recordings are read with, and for
    one whose rate is no number of samples that speech can be heard in."""
    rate = extractor.sampling_rate
    if not isinstance(rate, int) or isinstance(rate, bool) or rate < ACCEPTED_RATES[0]:
        raise UserError(
            f"'{name}' wants audio at {rate!r} Hz, by its preprocessor_config.json, which is no rate for "
            "speech: correct sampling_rate there"
        )
    if rate > SAMPLE_RATE:
        raise UserError(
            f"'{name}' wants audio at {rate} Hz, but recordings are read at {SAMPLE_RATE} Hz: give a model "
            "for that rate"
        )


def read_config(
    name: str, source: ModelSource, where: dict[str, Any], kind: str, built_in: str
) -> dict[str, Any]:
    """Return what the config.json of a model says; `kind` and `built_in` are those of `find_model`.

    Raises UserError where it cannot be read.
    """
    try:
        settings, _ = PretrainedConfig.get_config_dict(source.path, **where)
        settings.get("model_type")
        return settings
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        if source.offline and not source.is_folder:
            raise out_of_reach(name, kind, built_in) from error
        raise UserError(f"cannot read the config.json of '{name}': {reason_and_advice(error)}") from error


def _model_type(name: str, source: ModelSource, where: dict[str, Any]) -> str:
    model_type = read_config(name, source, where, "encoder", ", ".join(TINY_NAMES)).get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UserError(
            f"'{name}' is a model of type '{model_type}', not a supported speech encoder: "
            f"{', '.join(FAMILIES)}"
        )
    return model_type


def without_randomness(config: PretrainedConfig) -> PretrainedConfig:
    """Return a configuration without what changes outputs at random, and without an adapter."""
    for field in _RANDOMNESS:
        if hasattr(config, field):
            setattr(config, field, 0.0)
    config.apply_spec_augment = False
    config.add_adapter = False  # a head that some checkpoints have behind the layers
    return config
