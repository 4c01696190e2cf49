"""Which persons adapt together (see `meta_perser.together`): as many as fit into memory and may gain by it.

Together small matrix products become large ones. On a CPU a person's own are large enough from LARGE on, and
persons together only fall out of the caches; below it, with adapters, clips of unlike lengths have eaten up
most of the gain wherever it was measured (0.9 to 1.1 of the time of one by one).
"""

from __future__ import annotations

from collections.abc import Sequence

from meta_perser.buckets import bucket_places, joint_lengths
from meta_perser.model import EmotionRecognizer

MEMORY = 256 * 2**20
"""Bytes that the persons of one company may take."""
LARGE = 12 * 2**20
"""Bytes of activations from which a person goes alone on a CPU."""
PADDING = 1.25
"""How much larger a person's activations may become, on average, by padding persons alike."""


def companies(model: EmotionRecognizer, lengths: Sequence[Sequence[int]]) -> list[list[int]]:
    """The persons' places, a list a company; in one, all have equally many pairs.

    `lengths`: of every person, the frames of each clip, shortest first; 0 where only the head moves. Persons
    are taken by what they need alone, so that neighbours are padded little.
    """
    alone = [activation_bytes(model, one) for one in lengths]
    order = sorted(range(len(lengths)), key=lambda place: (len(lengths[place]), alone[place]))
    found: list[list[int]] = []
    for place in order:
        joined = [*found[-1], place] if found else [place]
        most = PADDING * sum(alone[one] for one in joined) / len(joined)
        if model.layer_logits.device.type == "cpu":
            most = min(LARGE, most)
        if len(joined) > 1 and _fit_together(model, [lengths[one] for one in joined], most):
            found[-1] = joined
        else:
            found.append([place])
    return found


def _fit_together(model: EmotionRecognizer, lengths: Sequence[Sequence[int]], most: float) -> bool:
    """Whether persons have equally many pairs, padded alike need at most `most` bytes of activations each,
    and fit into memory."""
    if len({len(one) for one in lengths}) > 1:
        return False
    joint = joint_lengths(lengths)
    padded = activation_bytes(model, joint)
    if padded > most:
        return False
    return len(lengths) * (padded + weight_bytes(model) + state_bytes(model, len(joint))) <= MEMORY


def activation_bytes(model: EmotionRecognizer, lengths: Sequence[int]) -> int:
    """About what a step keeps of one person's clips, there and back: in each moving layer 36 vectors a frame
    (projections, norms, a feed-forward part four times as wide) and six numbers a head for each pair of
    frames; nothing where no layer moves. Measured peaks of encoders of several sizes are near it."""
    layers = _moving_layers(model)
    if not layers:
        return 0
    buckets = [(len(places), lengths[places[-1]]) for places in bucket_places(lengths)]
    frames = sum(clips * longest for clips, longest in buckets)
    pairs = sum(clips * longest**2 for clips, longest in buckets)
    numbers = layers * (36 * frames * model.encoder.hidden_size + 6 * pairs * model.encoder.num_heads)
    return model.layer_logits.element_size() * numbers


def weight_bytes(model: EmotionRecognizer) -> int:
    """What a person's weights take: four copies of what moves, and of each adapted layer the four attention
    projections with the adapters in them, which WavLM reads."""
    moving = sum(one.numel() for one in model.moving_parameters().values())
    projections = 4 * model.encoder.hidden_size**2
    return model.layer_logits.element_size() * (4 * moving + _moving_layers(model) * projections)


def state_bytes(model: EmotionRecognizer, k: int) -> int:
    """What the pooled states of `k` clips take, with as much again for the standardised ones and their
    gradient."""
    states = k * (model.encoder.num_layers + 1) * model.encoder.hidden_size
    return model.layer_logits.element_size() * 3 * states


def _moving_layers(model: EmotionRecognizer) -> int:
    return model.encoder.num_layers - (model.lowest or 0)
