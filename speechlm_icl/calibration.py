"""Contextual calibration: what a prompt answers to a clip that says nothing is its bias (Zhao et al. 2021,
Calibrate Before Use, arXiv 2102.09690).

The bias that it takes away includes what the enrolment tells of how often the person gives each emotion;
where persons differ mostly in that, it can cost more than it brings.
"""

from __future__ import annotations

from torch import Tensor

from speechlm_icl.enrolment import Enrolment
from speechlm_icl.model import SpeechLMForICL
from speechlm_icl.projector import Clips
from speechlm_icl.scoring import score_queries


def content_free(model: SpeechLMForICL) -> Clips:
    """Features of one clip without content: the mean of the training clips, (1, L+1, D) where the projector
    reads time means, else one window of it.

    Not silence: that is far from every clip that the model was trained on, and a listener who is asked about
    it may well say `neutral`, so it would not be free of content. The mean of what all clips sound like
    tells none of them from the others.
    """
    mean = model.projector.mean[None]
    return mean if model.projector.options.level == "pooled" else [mean]


def score_free(model: SpeechLMForICL, enrolment: Enrolment) -> Tensor:
    """`score_queries` of the content-free clip: (1, C)."""
    return score_queries(model, enrolment, content_free(model))


def calibrate(scores: Tensor, free: Tensor) -> Tensor:
    """q ∝ p / p_cf (the paper's W = diag(p_cf)^-1, b = 0) as log-probabilities, not normalised: scores (Q, C)
    of queries less those of the content-free clip (1, C)."""
    return scores - free
