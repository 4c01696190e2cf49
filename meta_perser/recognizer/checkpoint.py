"""A recognizer from an audio classifier of transformers: the same logits, in the parts that adapt.

The classifier's weighted sum of hidden states, projector and linear layer are those of the recognizer's head.
The states are not standardized.
"""

from __future__ import annotations

import shlex

import torch
from torch import Tensor, nn

from meta_perser.recognizer.model import EmotionRecognizer
from meta_perser.scope import lowest_trainable_layer
from perser.encoders.classifier import AudioClassifier, load_classifier
from perser.errors import UserError
from perser.labels import Emotions, EmotionSet


def recognizer_of(
    name: str,
    emotions: EmotionSet | None = None,
    scope: str = "linears",
    logit_scale: bool = False,
    learns_more: bool = False,
) -> EmotionRecognizer:
    """Return the recognizer of a transformers folder, or of a model on the Hub.

    Args:
        name: the folder or the Hub name.
        emotions: what it shall distinguish, in this order; None: what the classifier does. Emotions that
            only the classifier has are left out: the others' probabilities keep their proportions.
        scope: see `EmotionRecognizer`.
        logit_scale: see `EmotionRecognizer`.
        learns_more: whether it is going to be trained, so that it may have emotions which the classifier
            lacks; their logits are 0 until then.

    Raises UserError for what is no such classifier, and for emotions that it lacks.
    """
    classifier = load_classifier(name)
    own = EmotionSet(classifier.labels)
    wanted = own if emotions is None else emotions
    if not learns_more:
        check_emotions(name, classifier.labels, wanted)
    projector, linear = classifier.head.projector, classifier.head.classifier
    model = EmotionRecognizer(
        classifier.encoder,
        wanted,
        scope,
        head_size=len(projector[0]),
        kept_layers=lowest_trainable_layer(scope, classifier.encoder.num_layers),
        logit_scale=logit_scale,
    )
    with torch.no_grad():
        model.layer_logits.copy_(classifier.head.layer_logits)
        _copy(model.projector, *projector)
        _copy(model.classifier, *_rows(classifier, wanted))
    model.trained_parameters = sum(len(tensor.flatten()) for tensor in (*projector, *linear))
    return model.eval()


def check_emotions(name: str, known: Emotions, wanted: EmotionSet) -> None:
    """Raise UserError for emotions that a classifier does not know, and cannot know without a training."""
    if lacking := [emotion for emotion in wanted.names if emotion not in known]:
        common = ";".join(emotion for emotion in wanted.names if emotion in known)
        raise UserError(
            f"'{name}' knows the emotions {', '.join(known)}, and the corpus also has {', '.join(lacking)}: "
            f"train it on them (`perser pretrain --from {shlex.quote(name)}` without --epochs 0), or prepare "
            f"the corpus with --emotions '{common}'"
        )


def _rows(classifier: AudioClassifier, emotions: EmotionSet) -> tuple[Tensor, Tensor]:
    """Return the last layer's weight and bias for these emotions, in their order; 0 for new ones."""
    weight, bias = classifier.head.classifier
    rows = torch.zeros(len(emotions), weight.shape[1])
    biases = torch.zeros(len(emotions))
    for place, emotion in enumerate(emotions.names):
        if emotion in classifier.labels:
            own = classifier.labels.index(emotion)
            rows[place], biases[place] = weight[own], bias[own]
    return rows, biases


def _copy(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
