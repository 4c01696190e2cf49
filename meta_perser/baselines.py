"""The methods of the gradient route: Meta-PerSER and the baselines that it is compared with.

The baselines are those of Meta-PerSER, section 3.2, and Prior-Shift, Head-Few and LoRA-Few, which the paper
does not have. Most of them use SSL-E, from which Meta-PerSER starts (section 2.4). Where only the head
adapts, clips are read as cached means over time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from meta_perser.adaptation.adaptation_loss import class_balanced_loss
from meta_perser.adaptation.lslr import ConstantRate
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.adaptation.personalizer import (
    GradientPersonalizer,
    NewHeadPersonalizer,
    Unadapted,
)
from meta_perser.adaptation.prior_shift import PriorShift
from meta_perser.adaptation.similarity import Similarity
from meta_perser.options import CONFIG
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.errors import UserError
from perser.personalizer import Personalizer, RouteContext, refuse_pairs


def meta_perser(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Meta-PerSER: 50 gradient steps with learned per-layer per-step rates from the meta-learned start, or
    the head that its proximal solver finds."""
    refuse_pairs("meta-perser", pairs)
    folder = context.folder("meta-perser")
    trained = MetaPerSER.from_pretrained(folder)
    settings = saved_settings(folder)
    context.check_model(folder, trained.model.emotions, settings.get("trained_on"))
    trained.to(context.device).model.eval()
    personalizer = trained.personalizer(ClipSource(context.recordings, trained.model, context.cache))
    personalizer.trained_as = _trained_as(settings)
    return personalizer


def _trained_as(settings: Mapping[str, Any]) -> dict[str, object]:
    """Return S and how rates were learned (neither with the proximal solver), the parts of the method that
    were on, and the iteration that validation chose.

    The iteration is "start" where no later one was better. Models of version 0.1.0 do not say which parts
    were on.
    """
    switches = {
        name: value if isinstance(value, str) else "on" if value else "off"
        for name, value in settings.get("switches", {}).items()
    }
    chosen = {"iteration": settings["iteration"] or "start"} if "iteration" in settings else {}
    if settings.get("solver", "steps") == "proximal":
        return {**switches, **chosen}
    return {"S": settings["inner_steps"], **switches, "LSLR": settings["lslr"]["granularity"], **chosen}


def entire_zero(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Zero: SSL-E as it is."""
    refuse_pairs("entire-zero", pairs)
    model, source, _ = _trained(context, "ssl-e", "head")
    return Unadapted(model, source)


def entire_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Few: SSL-E with everything that was trained in it fine-tuned on the support."""
    refuse_pairs("entire-few", pairs)
    return _fine_tuned(context, "ssl-e", "entire")


def head_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Head-Few: SSL-E with only its layer weights and classifier fine-tuned on the support."""
    refuse_pairs("head-few", pairs)
    return _fine_tuned(context, "ssl-e", "head")


def lora_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """LoRA-Few: SSL-E with new adapters on its attention and its head fine-tuned on the support."""
    refuse_pairs("lora-few", pairs)
    return _fine_tuned(context, "ssl-e", "lora")


def linear_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Linear-Few: layer weights and classifier on the plain encoder, trained and then fine-tuned on the
    support."""
    refuse_pairs("linear-few", pairs)
    return _fine_tuned(context, "linear", "head")


def multi_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Multi-Few: a new random head, trained on the support, on an encoder that was trained with a head for
    each training listener."""
    refuse_pairs("multi-few", pairs)
    return _fine_tuned(context, "multi", "linears", NewHeadPersonalizer)


def entire_sim(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Sim.: similarity of SSL-E's embedding to the mean embedding of each emotion in the support."""
    refuse_pairs("entire-sim", pairs)
    model, source, _ = _trained(context, "ssl-e", "head")
    return Similarity(model, source)


def prior_shift(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Prior-Shift: a bias over the emotions fitted on the support, added to SSL-E's logits."""
    refuse_pairs("prior-shift", pairs)
    model, source, extra = _trained(context, "ssl-e", "head")
    return PriorShift(model, source, extra["prior_strength"])


def _fine_tuned(
    context: RouteContext, name: str, part: str, kind: type[GradientPersonalizer] = GradientPersonalizer
) -> Personalizer:
    """Return gradient descent with the rate that was best on validation episodes."""
    chosen = tuned_part(context.folder(name), part)
    model, source, extra = _trained(context, name, chosen["scope"])
    return fine_tuning(model, source, chosen["rate"], extra, kind)


def tuned_part(folder: Path, part: str) -> dict[str, Any]:
    """Return the scope and the learning rate that were chosen for fine-tuning a part of a model.

    Raises UserError where there is no such model, or no rate was chosen.
    """
    chosen = _extra(folder)["fine_tune"].get(part)
    if chosen is None:  # only LoRA-Few's rate is optional
        raise UserError(
            f"no rate was chosen for LoRA-Few on {folder}: train it again with `perser pretrain --lora lora`"
        )
    return chosen


def fine_tuning(
    model: EmotionRecognizer,
    source: ClipSource,
    rate: float,
    extra: Mapping[str, Any],
    kind: type[GradientPersonalizer] = GradientPersonalizer,
) -> GradientPersonalizer:
    """Return gradient descent on the model's trainable parameters; `extra` comes from `saved_settings`."""
    device = model.layer_logits.device
    class_weights = torch.tensor(extra["class_weights"], device=device)
    loss = class_balanced_loss(class_weights, extra["label_smoothing"])
    rates = ConstantRate(list(model.trainable_parameters()), rate).to(device)
    return kind(model, source, rates, loss, extra["adaptation_steps"])


def _trained(context: RouteContext, name: str, scope: str) -> tuple[EmotionRecognizer, ClipSource, dict]:
    """Return a trained recognizer, the clips encoded up to what the scope moves, and what was saved with
    it."""
    folder = context.folder(name)
    extra = _extra(folder)
    model = EmotionRecognizer.from_pretrained(folder)
    context.check_model(folder, model.emotions, extra.get("trained_on"))
    model.set_scope(scope)
    model.to(context.device).eval()
    return model, ClipSource(context.recordings, model, context.cache), extra


def _extra(folder: Path) -> dict[str, Any]:
    """Return what was saved with a model's weights. Raises UserError where there is no such model."""
    if not (folder / CONFIG).exists():
        raise UserError(
            f"{folder} holds no trained model: make it with "
            f"`perser pretrain --target {folder.name} --out {shlex.quote(str(folder))}`"
        )
    return saved_settings(folder)
