"""Audio classifiers of transformers: a speech encoder, and a head of linear layers on the mean over time.

    classifier = load_classifier("superb/wav2vec2-base-superb-er")
    classifier.encoder, classifier.labels, classifier.head

Every kind of them computes its logits in the same way from what stands for a clip of each hidden state
(`SpeechEncoder.pool`): a weighted sum over the states, or the last one, then `projector`, then `classifier`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForAudioClassification, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

from perser.encoders.encoder import SpeechEncoder
from perser.encoders.families import FAMILIES, family_of
from perser.encoders.loading import (
    check_rate,
    explain_loading,
    quiet_transformers,
    read_config,
    refuse_missing,
    without_randomness,
)
from perser.errors import UserError, first_line
from perser.io.emotion_names import emotion_words
from perser.io.hub import find_model, refuse_pickles
from perser.labels import Emotions

HOW_TO_NAME = (
    'name them by emotions in its config.json, as in "id2label": {"0": "angry", "1": "happy"} (of a model on '
    "the Hub, in a copy: `hf download NAME --local-dir DIR`)"
)

NO_WEIGHT = -1e4
"""The logit of a state that counts nothing: the softmax makes it 0, and its gradient too."""


@dataclass(frozen=True)
class Head:
    """The head of a classifier.

    Args:
        layer_logits: their softmax weighs the hidden states, (L + 1,).
        projector: weight (H, D) and bias (H,) of the first linear layer.
        classifier: weight (C, H) and bias (C,) of the second one.
    """

    layer_logits: Tensor
    projector: tuple[Tensor, Tensor]
    classifier: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class AudioClassifier:
    """A classifier in parts.

    Args:
        encoder: its encoder.
        labels: what it distinguishes, in our words, in its order.
        head: what is computed from the encoder's states.
    """

    encoder: SpeechEncoder
    labels: Emotions
    head: Head


def check_classifier(name: str) -> Emotions:
    """Return the labels of a classifier, in our words, from its configuration alone.

    Raises UserError for a model of another kind or task, and for labels that are no emotions.
    """
    return _checked(name)[2]


def load_classifier(name: str) -> AudioClassifier:
    """Load a transformers folder, or a model on the Hub, in float32.

    Raises UserError as `check_classifier` does, and for weights that are missing or of another shape.
    """
    source, config, labels = _checked(name)
    family = FAMILIES[config.model_type]
    where: dict[str, Any] = {"local_files_only": source.offline}
    if source.is_folder:
        refuse_pickles(Path(source.path), "classifier")
    with quiet_transformers(progress=not source.is_folder), explain_loading("classifier", name):
        extractor = family.extractor_class.from_pretrained(source.path, **where)
        model, report = AutoModelForAudioClassification.from_pretrained(
            source.path,
            config=without_randomness(config),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **where,
        )
    remedy = (
        "it was not trained to classify, or has a head that only code of its own can use: give its "
        "probabilities instead (--probabilities)"
    )
    refuse_missing(name, report, remedy)
    check_rate(name, extractor)
    encoder = _encoder_of(model)
    if config.model_type == "whisper":
        encoder.config.pads_clips = True
    if _weighs_layers(model.config):  # then transformers reads the last layer without a final norm
        encoder.config.plain_last_state = True
    speech_encoder = SpeechEncoder(name, encoder, extractor, family_of(encoder.config))
    return AudioClassifier(speech_encoder, labels, _head(model))


def _checked(name: str) -> tuple[Any, PretrainedConfig, Emotions]:
    """Return where a classifier is, its configuration and its labels."""
    source = find_model(name, "classifier", "")
    settings = read_config(name, source, {"local_files_only": source.offline}, "classifier", "")
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UserError(
            f"'{name}' is a model of type '{model_type}', not a supported audio classifier: "
            f"{', '.join(FAMILIES)}"
        )
    wanted = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES[model_type]
    architectures = settings.get("architectures") or []
    if architectures != [wanted]:
        made_for = ", ".join(map(str, architectures)) or "nothing that it names"
        command = f"perser pretrain --encoder {shlex.quote(name)}"
        raise UserError(
            f"'{name}' is made for another task ({made_for}, not {wanted}): give one that was fine-tuned to "
            f"classify emotions, or train one on its encoder with `{command}`"
        )
    try:
        config = FAMILIES[model_type].config_class.from_dict(settings)
        labels = (config.id2label[number] for number in range(config.num_labels))
        names = ["" if label is None else str(label) for label in labels]
    except Exception as error:
        raise UserError(f"the config.json of '{name}' is damaged: {first_line(error)}") from error
    if config.problem_type in ("regression", "multi_label_classification") or len(names) < 2:
        task = config.problem_type or "one label"
        raise UserError(
            f"'{name}' does not choose one of several emotions ({task.replace('_', ' ')}): give a classifier "
            "whose probabilities sum to 1"
        )
    return source, config, emotion_words(names, f"'{name}'", HOW_TO_NAME)


def _encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the encoder inside a classifier."""
    return model.encoder if model.config.model_type == "whisper" else model.base_model


def _head(model: PreTrainedModel) -> Head:
    """Return the head of a classifier in the form that all have in common."""
    states = model.config.num_hidden_layers + 1
    if _weighs_layers(model.config):
        layer_logits = model.layer_weights.detach()
    else:
        layer_logits = torch.full((states,), NO_WEIGHT)
        layer_logits[-1] = 0.0
    if model.config.model_type == "audio-spectrogram-transformer":
        # Its encoder already normalizes (`SpectrogramTransformerFamily.pool`). The rest is linear.
        norm = model.classifier.layernorm
        projector = (torch.diag(norm.weight), norm.bias)
        return _detached(layer_logits, projector, _of_linear(model.classifier.dense))
    return _detached(layer_logits, _of_linear(model.projector), _of_linear(model.classifier))


def _weighs_layers(config: PretrainedConfig) -> bool:
    """Return whether a classifier reads a weighted sum of all hidden states; AST's reads the last one."""
    weighted = bool(getattr(config, "use_weighted_layer_sum", False))
    return weighted and config.model_type != "audio-spectrogram-transformer"


def _of_linear(linear: torch.nn.Linear) -> tuple[Tensor, Tensor]:
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return linear.weight, bias


def _detached(layer_logits: Tensor, *layers: Sequence[Tensor]) -> Head:
    projector, classifier = ((weight.detach(), bias.detach()) for weight, bias in layers)
    return Head(layer_logits, projector, classifier)
