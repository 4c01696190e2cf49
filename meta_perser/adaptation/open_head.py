"""A new head, for labels that nobody trained the recognizer on: it starts from their clips' mean embeddings.

A clip is compared with the prototype of each label, the mean of that label's clips. Up to what is the same
for all labels, the negative squared distance to a prototype is linear in the clip's embedding, so a linear
head can start as that comparison and then descend like any other (Proto-MAML: Triantafillou et al. 2020,
Meta-Dataset, arXiv 1903.03096).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from meta_perser.adaptation.adaptation_loss import Weights
from meta_perser.adaptation.predictor import embeddings
from meta_perser.adaptation.similarity import emotion_centers
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer
from perser.episodes.episode import Support


def prototype_head(hidden: Tensor, targets: Tensor, trained: nn.Linear) -> Weights:
    """Return the weights of a head that compares a clip with each label's prototype.

    Its logits are scaled so that over these clips they are as far apart as those of the trained head: squared
    distances alone have no natural scale. A label without clips gets the lowest logit of these clips.

    Args:
        hidden: What the head reads of the enrolled clips, (K, H).
        targets: Their label distributions, (K, num_labels).
        trained: The head that the recognizer was trained with.
    """
    prototypes = emotion_centers(hidden, targets)
    present = prototypes.isfinite().all(dim=1)
    middle = prototypes[present].mean(dim=0)
    weight = (prototypes - middle).masked_fill(~present[:, None], 0.0)
    bias = -(weight @ middle) - weight.square().sum(dim=1) / 2
    logits = (hidden @ weight.T + bias)[:, present]
    scale = _spread(trained(hidden)) / _spread(logits).clamp_min(torch.finfo(hidden.dtype).tiny)
    bias = torch.where(present, bias, logits.min())
    return {"classifier.weight": scale * weight, "classifier.bias": scale * bias}


@torch.no_grad()
def head_of_support(
    model: EmotionRecognizer, source: ClipSource, support: Support, trained: nn.Linear
) -> Weights:
    """Return `prototype_head` of a support's clips."""
    hidden = model.projector(embeddings(model, source, support.utterances))
    return prototype_head(hidden, model.targets(support.emotions), trained)


def _spread(logits: Tensor) -> Tensor:
    """Return the root mean square of what tells the classes apart in logits (K, C)."""
    return (logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt()
