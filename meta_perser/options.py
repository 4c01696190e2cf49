"""Options of pretraining and meta-training: one dataclass for each part of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from meta_perser.scope import lora_rank
from perser.training.options import OptimizationOptions, check_at_least

CONFIG = "meta_perser.json"
"""The file that every folder of a recognizer has. It is defined here because this module imports nothing
large."""

Target = Literal["ssl-e", "linear", "multi"]
Init = Literal["ssl-e", "encoder"]
Memory = Literal["unroll", "adjoint"]
# YAML reads a bare `off` as false: both are accepted, and stored as "off".
Granularity = Literal["off", "tensor", "module", False]
Annealing = Literal["off", "inner_steps", "training", False]
Sign = Literal["free", "positive"]
Solver = Literal["steps", "proximal"]
Beyond = Literal["last", "mean", "initial"]


@dataclass(frozen=True)
class PretrainOptions(OptimizationOptions):
    """How a recognizer is pretrained.

    Args:
        scope: what is trained: all (trunk and head), top_layers:N, lora:R:N, head or linears; with --target
            linear it is always head.
        head_size: width of the first of the two linear layers.
        frame_window: how many frames (of 20 ms) are averaged before the layers that are trained, here and in
            everything that starts from this model; those layers become about that many times cheaper. 1:
            every frame, as in the paper.
        logit_scale: multiply the logits by a learned scale, which adapts with the head in everything that
            starts from this model (not in the paper): one number for how sharply a person tells emotions
            apart.
        epochs: passes over the training utterances.
        steps: optimizer steps instead of epochs; none: as many as the epochs take.
        validate_every: steps between two validations; none: one after each epoch.
        weight_decay: weight decay of AdamW.
        label_smoothing: share of every target that is spread over all emotions (EMO-SUPERB: 0.05).
        class_balanced: whether rare emotions weigh more in the loss, here and in everything that starts from
            this model (Cui et al. 2019; as in the paper); false: every utterance weighs the same.
        adaptation_steps: gradient steps of the fine-tuning baselines, whose learning rates are chosen here on
            validation episodes; where layers of the encoder adapt, by successive halving on one of each.
        lora: LoRA-Few's adapters on SSL-E: lora (rank 8), lora:R (rank R) or lora:R:N (the N highest layers
            alone); none: no learning rate is chosen for LoRA-Few, and it cannot be measured.
        seed: seed of weights and batches.
    """

    scope: str = "all"
    head_size: int = 256
    frame_window: int = 1
    logit_scale: bool = False
    epochs: int = 20
    steps: int | None = None
    validate_every: int | None = None
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    class_balanced: bool = True
    adaptation_steps: int = 50
    lora: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_size", "frame_window", "epochs", "adaptation_steps"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("weight_decay", self.weight_decay, 0)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing: {self.label_smoothing}, give at least 0 and less than 1")
        if self.frame_window > 1 and self.scope in ("all", "head", "linears"):
            raise ValueError(f"frame_window: {self.frame_window} needs scope top_layers:N or lora:R:N")
        if self.lora is not None and lora_rank(self.lora) is None:
            raise ValueError(f"lora: '{self.lora}', give lora, lora:R, lora:R:N or none")


@dataclass(frozen=True)
class InnerOptions:
    """The inner loop.

    Args:
        solver: how a person's weights are found: steps (gradient steps) or proximal (the best head for the
            support that stays close to the meta-learned one, solved exactly; how close is learned). The
            proximal solver needs scope head or linears and `csmt: false`. It takes no steps, so that `steps`,
            `rate`, `adaptation_steps`, `memory` and `lslr` mean nothing to it.
        steps: S, gradient steps in meta-training; each has learned rates of its own.
        support: K, how many examples are drawn from each listener.
        query: Q, how many further examples the outer loss uses if `csmt` is false; none: as many as
            `support`.
        rate: initial value of every learned rate; none: the rate with which fine-tuning SSL-E does best.
        adaptation_steps: gradient steps in meta-testing; for those beyond `steps` see `lslr.beyond`.
        memory: how gradients get through the inner loop; both ways give the same: unroll (keep every step's
            graph: fastest) or adjoint (keep every step's weights, and compute one Hessian-vector product a
            step backwards: the memory of one step's graph, however many steps there are).
    """

    steps: int = 5
    support: int = 32
    query: int | None = None
    rate: float | None = None
    adaptation_steps: int = 50
    memory: Memory = "unroll"
    solver: Solver = "steps"

    def __post_init__(self) -> None:
        for name in ("steps", "support", "query"):
            check_at_least(f"inner.{name}", getattr(self, name), 1)
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"inner.rate: {self.rate}, give more than 0, or none for the one that was tuned")
        if self.adaptation_steps < self.steps:
            raise ValueError(
                f"inner.adaptation_steps: {self.adaptation_steps} is below inner.steps: {self.steps}; "
                "a model adapted with fewer steps than it was trained for is not the trained one"
            )


@dataclass(frozen=True)
class OuterOptions(OptimizationOptions):
    """The outer loop.

    Args:
        rates_learning_rate: Adam's learning rate for the learned rates.
        strengths_learning_rate: Adam's learning rate for the logarithms of the proximal solver's lambdas.
        cosine: whether both learning rates warm up and then fall along a cosine; false: they stay as they
            are.
        patience: stop after this many validations in a row without a better macro-F1; none: take all steps.
    """

    prefix: ClassVar[str] = "outer."

    steps: int = 200
    batch_size: int = 4
    clip_norm: float | None = 10.0
    validate_every: int = 40
    rates_learning_rate: float = 1e-3
    strengths_learning_rate: float = 0.1
    cosine: bool = True
    patience: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("outer.rates_learning_rate", self.rates_learning_rate, 0)
        check_at_least("outer.strengths_learning_rate", self.strengths_learning_rate, 0)
        check_at_least("outer.patience", self.patience, 1)


@dataclass(frozen=True)
class LslrOptions:
    """Learned learning rates per layer and step (LSLR, Meta-PerSER 2.3.4).

    Args:
        granularity: one rate a step for each parameter tensor (as in MAML++) or module (as in learn2learn: a
            weight and its bias share one), or off: one fixed rate for everything.
        sign: free (a rate may turn negative, and with it the direction) or positive.
        beyond: the rate of an adaptation step after the last learned one: the last learned rate, the mean
            over the learned steps, or the initial rate. The paper does not say which; a model keeps the one
            that it was meta-trained with.
    """

    granularity: Granularity = "tensor"
    sign: Sign = "free"
    beyond: Beyond = "last"

    def __post_init__(self) -> None:
        object.__setattr__(self, "granularity", self.granularity or "off")
        if self.granularity == "off":
            for name, default in (("sign", "free"), ("beyond", "last")):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"lslr.{name}: {getattr(self, name)} means nothing with lslr.granularity: off; "
                        "no rate is learned"
                    )


@dataclass(frozen=True)
class AnnealingOptions:
    """Derivative annealing: first-order inner gradients early, second-order ones after (DA, 2.3.3).

    Args:
        by: off (second order throughout), inner_steps (the first steps of every inner loop are first order,
            as the paper says) or training (the first steps of the outer loop are, as in MAML++).
        share: how much of either is first order, 0 to 1.
    """

    by: Annealing = "off"
    share: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", self.by or "off")
        if not 0 <= self.share <= 1:
            raise ValueError(f"derivative_annealing.share: {self.share} is outside 0..1")


@dataclass(frozen=True)
class MultiStepOptions:
    """Multi-step loss (MAML++, Antoniou et al. 2019, section 4): the outer loss is a weighted sum of the
    losses after every inner step, whose weight moves to the last one during training.

    Args:
        enabled: false: the loss after the last step alone.
        epochs: after so many, the last step's loss is alone. An epoch is as many outer steps as it takes to
            draw the number of training persons once, ceil(training persons / outer.batch_size).
    """

    enabled: bool = False
    epochs: int = 15

    def __post_init__(self) -> None:
        check_at_least("multi_step_loss.epochs", self.epochs, 1)
