"""The gradient route's baselines by name, all on the SSL-E that Meta-PerSER starts from (section 2.4).

Where nothing but the head matters, clips are read as cached time means.
"""

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
    model, source, _ = _ssl_e(context, "head")
    return Unadapted(model, source)


def entire_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Few: everything that SSL-E trained, fine-tuned on the support."""
    refuse_pairs("entire-few", pairs)
    return _fine_tuned(context, "entire")


def head_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Head-Few: SSL-E with its layer weights and classifier alone fine-tuned on the support."""
    refuse_pairs("head-few", pairs)
    return _fine_tuned(context, "head")


def prior_shift(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Prior-Shift: a bias over the emotions fitted on the support, added to SSL-E's logits."""
    refuse_pairs("prior-shift", pairs)
    model, source, extra = _ssl_e(context, "head")
    return PriorShift(model, source, extra["prior_strength"])


def _fine_tuned(context: RouteContext, part: str) -> Personalizer:
    """Plain gradient descent with the rate that did best on validation episodes."""
    extra = extra_of(context.models / "ssl-e")
    chosen = extra["fine_tune"][part]
    model, source, _ = _ssl_e(context, chosen["scope"])
    loss = balanced_loss(torch.tensor(extra["class_weights"]), extra["label_smoothing"])
    rates = ConstantRate(list(model.moving_parameters()), chosen["rate"])
    return GradientPersonalizer(model, source, rates, loss, extra["adaptation_steps"])


def _ssl_e(context: RouteContext, scope: str) -> tuple[EmotionRecognizer, ClipSource, dict]:
    """SSL-E, its clips encoded up to what the scope moves, and what was saved beside it."""
    folder = context.models / "ssl-e"
    model, extra = EmotionRecognizer.from_pretrained(folder), extra_of(folder)
    context.check_model(folder, model.emotions, extra["trained_on"])
    model.set_scope(scope)
    model.eval()
    return model, ClipSource(context.recordings, model, context.cache), extra
