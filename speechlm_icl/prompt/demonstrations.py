"""Demonstrations: which pairs of an enrollment a prompt holds, and in which orders it is read.

Choice. Where an enrollment has more pairs than the prompt may hold, `most_representative` maximizes

    f(S) = sum over emotions y and pairs i with y of max over the chosen pairs j with y of similarity(i, j)

This is the facility location function of a nearest-neighbor classifier (Wei, Iyer and Bilmes 2015,
Submodularity in Data Subset Selection and Active Learning, ICML). Greedy maximization reaches 1 - 1/e of the
optimum (Nemhauser et al. 1978). Every emotion of the enrollment gets examples, and each example is similar
to many others with the same emotion. The choice depends on the enrollment alone, so all queries share it and
its prefix cache.

Order. A language model's answer depends on the order of its examples (Lu et al. 2022, Fantastically Ordered
Prompts, arXiv 2104.08786), although a person's does not; so probabilities may be averaged over several
orders (`reorderings`).

None of these options of the in-context methods needs training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from perser.episodes.episode import Support
from perser.errors import UserError
from speechlm_icl.projectors.base import Clips

OPTION_FORMS = ("orders=N", "calibrated", "chosen", "matched", "other")


@dataclass(frozen=True)
class DemonstrationOptions:
    """How a speech LM uses an enrollment.

    Args:
        orders: In how many orders the enrollment is read. Probabilities are averaged over them.
        calibrated: Whether probabilities are divided by those of a content-free clip.
        chosen: Whether the most representative pairs of the support are read, instead of its first ones.
        matched: Whether clips are also matched with the enrolled ones by the encoder's own features
            (`speechlm_icl.scoring.matching`).
        other: Whether emotions that are not enrolled are answered by what the model knows without pairs. How
            likely it is to be one of these, its answer `other` says, beside the enrolled emotions.
    """

    orders: int = 1
    calibrated: bool = False
    chosen: bool = False
    matched: bool = False
    other: bool = False

    def __post_init__(self) -> None:
        if self.orders < 1:
            raise ValueError("orders must be at least 1")


def parse_demonstration_options(
    texts: Iterable[str], method: str = "speech-lm", without: Sequence[str] = ()
) -> DemonstrationOptions:
    """Parse the options in a method's name, such as `speech-lm-8+calibrated+orders=4`, split at the pluses.

    `method` is the name before them, for messages, and `without` are the options that it does not have.

    Raises UserError for an unknown option, and for an option that occurs twice.
    """
    known = [form for form in OPTION_FORMS if form not in without]
    options: dict[str, Any] = {}
    for text in texts:
        match = re.fullmatch(r"(?:(orders)=(\d+)|(calibrated|chosen|matched|other))", text)
        name = match and (match[1] or match[3])
        if not match or not name or name in options or name in without:
            raise UserError(
                f"{method} has no option '+{text}', or it occurs twice: the options are {', '.join(known)}"
            )
        options[name] = int(match[2]) if match[2] else True
    try:
        return DemonstrationOptions(**options)
    except ValueError as error:
        raise UserError(f"{method}: {error}") from error


def reorderings(support: Support, count: int) -> list[Support]:
    """Return the support itself and `count` - 1 random orders of it, drawn with the support's own seed.

    A longer list begins with the shorter one. A support of fewer than two pairs has one order only.
    """
    if len(support) < 2:
        return [support]
    rng = np.random.default_rng(support.seed)
    return [support, *(support.ordered(rng.permutation(len(support))) for _ in range(count - 1))]


def similarities(features: Clips) -> np.ndarray:
    """Return the cosine similarity of each two of n clips, rescaled from [-1, 1] to [0, 1]: (n, n).

    Clips are compared by their features' means over time. Each feature is first standardized over the
    enrollment, so that neither its scale nor what all clips share (the voice, the room) counts.
    """
    means = features if isinstance(features, Tensor) else torch.stack([clip.mean(dim=0) for clip in features])
    flat = means.flatten(1).double()
    centered = flat - flat.mean(dim=0)
    unit = F.normalize(centered / centered.square().mean(dim=0).sqrt().clamp_min(1e-5), dim=1)
    return ((1 + unit @ unit.T) / 2).numpy()


def most_representative(similar: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Choose the `count` most representative pairs greedily; return their indices (count,), ascending.

    Args:
        similar: Similarity of each two clips (n, n), at least 0.
        labels: Emotions of each clip, multi-hot (n, C).
        count: How many pairs to choose; at most n.
    """
    # (n, n, C): how well pair j represents pair i for emotion y; 0 unless both have y.
    represents = similar[:, :, None] * (labels[:, None] * labels[None, :])
    covered = np.zeros_like(represents[:, 0])
    chosen: list[int] = []
    for _ in range(count):
        gain = np.maximum(represents - covered[:, None], 0).sum(axis=(0, 2))
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered = np.maximum(covered, represents[:, chosen[-1]])
    return np.sort(np.array(chosen, dtype=np.int64))
