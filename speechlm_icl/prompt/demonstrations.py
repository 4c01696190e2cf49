"""Orders in which an enrollment is read: a language model's answer depends on the order of its examples (Lu
et al. 2022, Fantastically Ordered Prompts, arXiv 2104.08786), a person does not.

Which pairs of an enrollment to read where it has more than the prompt is to hold.

    f(S) = sum over emotions y and pairs i with y of max over the chosen pairs j with y of similarity(i, j)

The facility location of a nearest-neighbor classifier (Wei, Iyer and Bilmes 2015, Submodularity in Data
Subset Selection and Active Learning, ICML), maximized greedily, which reaches 1 - 1/e of the best (Nemhauser
et al. 1978): every emotion of the enrollment gets examples, and each stands for many of the others that are
called the same. It looks at the enrollment alone, so one choice serves all queries, and its cache with it.

How an enrollment is used once it is there: options of the route `speech-lm`, which train nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perser.episodes.episode import Support
from perser.errors import UserError
from speechlm_icl.projectors.base import Clips


def orders(support: Support, count: int) -> list[Support]:
    """The support as it is and `count` - 1 random orders of it, by the support's own seed; the longer of two
    lists begins as the shorter one. One alone where there is nothing to reorder."""
    if len(support) < 2:
        return [support]
    rng = np.random.default_rng(support.seed)
    return [support, *(support.ordered(rng.permutation(len(support))) for _ in range(count - 1))]


def similarities(features: Clips) -> np.ndarray:
    """Cosines of n clips' features (their means over time), shifted and halved into [0, 1]: (n, n). Each
    feature is standardized over the enrollment, so that neither its scale nor what all clips share (the
    voice, the room) counts."""
    means = features if isinstance(features, Tensor) else torch.stack([clip.mean(dim=0) for clip in features])
    flat = means.flatten(1).double()
    centered = flat - flat.mean(dim=0)
    unit = F.normalize(centered / centered.square().mean(dim=0).sqrt().clamp_min(1e-5), dim=1)
    return ((1 + unit @ unit.T) / 2).numpy()


def most_representative(similar: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) of the chosen pairs, ascending, so that they keep the enrollment's order.

    Args:
        similar: Similarity of each two clips (n, n), at least 0.
        labels: What was said of each clip, multi-hot (n, C).
        count: How many pairs; at most n.
    """
    alike = similar[:, :, None] * (labels[:, None] * labels[None, :])  # (n, n, C): i stood for by j, under y
    covered = np.zeros_like(alike[:, 0])
    chosen: list[int] = []
    for _ in range(count):
        gain = np.maximum(alike - covered[:, None], 0).sum(axis=(0, 2))
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, alike[:, chosen[-1]])
    return np.sort(np.array(chosen, dtype=np.int64))


FORMS = "orders=N, calibrated, chosen"


@dataclass(frozen=True)
class ReadingOptions:
    """What a speech LM does with an enrollment besides reading it.

    Args:
        orders: In how many orders the enrollment is read; probabilities are averaged over them.
        calibrated: Whether probabilities are divided by those of a clip without content.
        chosen: Whether the pairs are the most representative ones of the support, not its first.
    """

    orders: int = 1
    calibrated: bool = False
    chosen: bool = False

    def __post_init__(self) -> None:
        if self.orders < 1:
            raise ValueError("orders must be at least 1")


def parse_options(texts: Iterable[str]) -> ReadingOptions:
    """The options in a method's name, `speech-lm-8+calibrated+orders=4`, without the pluses.

    Raises UserError for any other text, or one that is given twice.
    """
    given: dict[str, int | bool] = {}
    for text in texts:
        parts = re.fullmatch(r"(?:(orders)=(\d+)|(calibrated|chosen))", text)
        name = parts and (parts[1] or parts[3])
        if not name or name in given:
            raise UserError(f"speech-lm has no option '+{text}', or has it twice: there are {FORMS}")
        given[name] = int(parts[2]) if parts[2] else True
    try:
        return ReadingOptions(**given)
    except ValueError as error:
        raise UserError(f"speech-lm: {error}") from error
