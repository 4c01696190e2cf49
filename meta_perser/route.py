"""Meta-PerSER as a method: the meta-trained recogniser, adapted with its learned rates."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from meta_perser.clips import ClipSource
from meta_perser.gradient import GradientPersonalizer, balanced_loss
from meta_perser.lslr import LearnedRates
from meta_perser.model import EmotionRecognizer, extra_of
from meta_perser.train import RATES
from perser.personalizer import Personalizer, RouteContext, refuse_pairs


def meta_perser(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Meta-PerSER: 50 gradient steps with learned per-layer per-step rates from the meta-learned start."""
    refuse_pairs("meta-perser", pairs)
    folder = context.models / "meta-perser"
    model = EmotionRecognizer.from_pretrained(folder)
    model.eval()
    extra = extra_of(folder)
    context.check_model(folder, model.emotions, extra["trained_on"])
    rates = LearnedRates(list(model.moving_parameters()), extra["inner_steps"], initial=0.0)
    rates.load_state_dict(load_file(folder / RATES))
    loss = balanced_loss(torch.tensor(extra["class_weights"]), extra["label_smoothing"])
    source = ClipSource(context.recordings, model, context.cache)
    return GradientPersonalizer(model, source, rates, loss, extra["adaptation_steps"])
