"""The gradient route's baselines by name, all on the SSL-E that Meta-PerSER starts from (section 2.4)."""

from __future__ import annotations

import torch

from meta_perser.clips import ClipSource
from meta_perser.gradient import GradientPersonalizer, Unadapted, balanced_loss
from meta_perser.lslr import ConstantRate
from meta_perser.model import EmotionRecognizer, extra_of
from meta_perser.prior_shift import PriorShift
from perser.personalizer import Personalizer, RouteContext, refuse_pairs


def entire_zero(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Zero: SSL-E as it is."""
    refuse_pairs("entire-zero", pairs)
    model, source, _ = _ssl_e(context)
    return Unadapted(model, source)


def entire_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Few: SSL-E fine-tuned on the support, with the rate that did best on validation episodes."""
    refuse_pairs("entire-few", pairs)
    model, source, extra = _ssl_e(context)
    loss = balanced_loss(torch.tensor(extra["class_weights"]), extra["label_smoothing"])
    rates = ConstantRate(list(model.moving_parameters()), extra["fine_tune_rate"])
    return GradientPersonalizer(model, source, rates, loss, extra["adaptation_steps"])


def prior_shift(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Prior-Shift: a bias over the emotions fitted on the support, added to SSL-E's logits."""
    refuse_pairs("prior-shift", pairs)
    model, source, extra = _ssl_e(context)
    return PriorShift(model, source, extra["prior_strength"])


def _ssl_e(context: RouteContext) -> tuple[EmotionRecognizer, ClipSource, dict]:
    folder = context.models / "ssl-e"
    model = EmotionRecognizer.from_pretrained(folder)
    model.eval()
    return model, ClipSource(context.recordings, model, context.cache), extra_of(folder)
