"""The methods of the gradient route: Meta-PerSER and the baselines that it is compared with.

The baselines are those of Meta-PerSER, section 3.2, and Prior-Shift, Head-Few and LoRA-Few, which the paper
does not have. Most of them use SSL-E, from which Meta-PerSER starts (section 2.4). Where only the head
adapts, clips are read as cached means over time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
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
from meta_perser.adaptation.similarity import Similarity
from meta_perser.options import CONFIG, LAST
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.adjustments.recalibration import Priors, Recalibrated
from perser.errors import UserError
from perser.personalizer import Personalizer, RouteContext, refuse_pairs
from perser.selection.grid import Found


def meta_perser(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Meta-PerSER: 50 gradient steps with learned rates, or a proximal solver, adapt a model that was trained
    for it to the person's labeled clips.

    With the option `last` the model is that of the last iteration, not the one that validation chose.
    """
    refuse_pairs("meta-perser", pairs)
    best = context.folder("meta-perser")
    folder = best / LAST if LAST in context.options else best
    trained = MetaPerSER.from_pretrained(folder)
    settings = saved_settings(folder)
    context.check_model(folder, trained.model.emotions, settings.get("trained_on"))
    trained.to(context.device).model.eval()
    personalizer = trained.personalizer(ClipSource(context.recordings, trained.model, context.cache))
    personalizer.trained_as = _trained_as(settings) | _validations(best)
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


def _validations(folder: Path) -> dict[str, object]:
    """Return how the start, the best and the last iteration did on validation episodes, by figure.

    Empty where the training did not say, as those of version 0.1.0.
    """
    if not (folder / LAST / CONFIG).is_file():
        return {}
    validations = saved_settings(folder / LAST).get("validations", [])
    if not validations:
        return {}
    settings = saved_settings(folder)
    chosen = settings["iteration"]
    steps = {"start": validations[0], "last": validations[-1]}
    steps |= {"best": next((one for one in validations if one[0] == chosen), validations[0])}
    reason: dict[str, object] = {}
    if not chosen:
        reason["start chosen because"] = _why_the_start(settings, validations)
    return reason | {
        f"validation {figure.replace('_', ' ')}": ", ".join(
            f"{name} {steps[name][1][figure]:.4f} (iteration {steps[name][0]})"
            for name in ("start", "best", "last")
        )
        for figure in validations[-1][1]
    }


def _why_the_start(settings: Mapping[str, Any], validations: Sequence[Any]) -> str:
    """Return why no trained iteration was chosen: what the validations after the start had."""
    (_, start), *later = validations
    if not later:
        return "nothing was validated after it"
    figure = "maF1" if settings.get("selection") == "maF1" else "log_loss"
    values = [one[figure] for _, one in later]
    reason = (
        f"no later validation was better: {figure.replace('_', ' ')} {min(values):.4f} to {max(values):.4f}, "
        f"{start[figure]:.4f} at the start"
    )
    if settings.get("switches", {}).get("CSMT"):
        reason += "; the outer loss of CSMT is on the support itself, which does not show this"
    return reason


def entire_zero(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Zero: the trained model SSL-E as it is, the same for everybody."""
    refuse_pairs("entire-zero", pairs)
    model, source, _ = _trained(context, "ssl-e", "head")
    return Unadapted(model, source)


def entire_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Few: SSL-E, with everything that was trained in it fine-tuned on the person's labeled clips."""
    refuse_pairs("entire-few", pairs)
    return _fine_tuned(context, "ssl-e", "entire")


def head_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Head-Few: SSL-E, with its last part alone fine-tuned on the person's labeled clips: layer weights and
    classifier."""
    refuse_pairs("head-few", pairs)
    return _fine_tuned(context, "ssl-e", "head")


def lora_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """LoRA-Few: SSL-E, with its last part and small adapters in its attention fine-tuned on the person's
    labeled clips."""
    refuse_pairs("lora-few", pairs)
    return _fine_tuned(context, "ssl-e", "lora")


def linear_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Linear-Few: a linear classifier on an encoder that was never trained for emotions, fine-tuned on the
    person's labeled clips."""
    refuse_pairs("linear-few", pairs)
    return _fine_tuned(context, "linear", "head")


def multi_few(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Multi-Few: a new head, trained on the person's labeled clips alone, on an encoder that was trained with
    a head for each training listener."""
    refuse_pairs("multi-few", pairs)
    return _fine_tuned(context, "multi", "linears", NewHeadPersonalizer)


def entire_sim(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Entire-Sim: the emotion whose labeled clips sound most alike to SSL-E (nearest mean embedding)."""
    refuse_pairs("entire-sim", pairs)
    model, source, _ = _trained(context, "ssl-e", "head")
    return Similarity(model, source)


def prior_shift(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Prior-Shift: SSL-E, with each emotion made likelier or less likely, as the person's labels suggest (a
    bias on its logits)."""
    refuse_pairs("prior-shift", pairs)
    return _recalibrated(context, "prior-shift")


def bias_scale(context: RouteContext, pairs: int | None = None) -> Personalizer:
    """Bias-Scale: SSL-E, with each emotion made likelier or less likely, and all answers surer or less sure,
    as the person's labels suggest (a bias and a temperature)."""
    refuse_pairs("bias-scale", pairs)
    return _recalibrated(context, "bias-scale")


def _recalibrated(context: RouteContext, kind: str) -> Personalizer:
    """Return Entire-Zero, recalibrated with the strengths that were best on validation episodes."""
    priors, tried = chosen_priors(context.folder("ssl-e"), kind)
    model, source, _ = _trained(context, "ssl-e", "head")
    return Recalibrated(Unadapted(model, source), model.emotions, priors, tried)


def chosen_priors(folder: Path, kind: str) -> tuple[Priors, list[Found]]:
    """Return the strengths that were chosen for a recalibration of SSL-E, and what was tried.

    Version 0.1.0 chose a strength for Prior-Shift alone: Bias-Scale then has it too, and 1 for the scale.

    Raises UserError where there is no such model.
    """
    extra = _extra(folder)
    saved = extra.get("recalibration", {}).get(kind)
    if saved is None:
        return Priors(extra["prior_strength"], None if kind == "prior-shift" else 1.0), []
    tried = {name: Found(**found) for name, found in saved.items()}
    return Priors(**{name: found.value for name, found in tried.items()}), list(tried.values())


def _fine_tuned(
    context: RouteContext, name: str, part: str, kind: type[GradientPersonalizer] = GradientPersonalizer
) -> Personalizer:
    """Return gradient descent with the rate that was best on validation episodes."""
    chosen = tuned_part(context.folder(name), part)
    model, source, extra = _trained(context, name, chosen["scope"])
    personalizer = fine_tuning(model, source, chosen["rate"], extra, kind)
    if "tried" in chosen:  # version 0.1.0 did not say
        personalizer.chosen_among = Found(**chosen["tried"])
    return personalizer


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


def _trained(
    context: RouteContext, name: str, scope: str
) -> tuple[EmotionRecognizer, ClipSource, dict[str, Any]]:
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
        if (folder / "config.json").exists():
            raise UserError(
                f"{folder} holds no model of ours: if it is an audio classifier of transformers, make it one "
                f"with `perser pretrain --from {shlex.quote(str(folder))} --epochs 0 --out DIR`, which "
                "chooses what adapting it needs"
            )
        raise UserError(
            f"{folder} holds no trained model: make it with "
            f"`perser pretrain --target {folder.name} --out {shlex.quote(str(folder))}`"
        )
    return saved_settings(folder)
