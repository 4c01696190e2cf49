"""What can be switched and set in meta-training: one dataclass a part of the paper, one field a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG = "meta_perser.json"

Init = Literal["ssl-e", "encoder"]

# `checkpoint` (version 0.1.0) is still read, so that an old file gets an error that names its replacement.
Memory = Literal["unroll", "adjoint", "checkpoint"]

# YAML reads a bare `off` as false: both are taken, and are "off" from then on.
Granularity = Literal["off", "tensor", "module", False]

Annealing = Literal["off", "inner_steps", "training", False]

Sign = Literal["free", "positive"]

Beyond = Literal["last", "mean", "initial"]


@dataclass(frozen=True)
class InnerOptions:
    """The inner loop.

    Args:
        steps: gradient steps in meta-training; each has learned rates of its own.
        support: K, examples sampled of a listener.
        query: Q, further examples of the listener for the outer loss, where `csmt` is false; none: as many
            as `support`.
        rate: what every learned rate starts at; none: the rate with which fine-tuning SSL-E does best.
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

    def __post_init__(self) -> None:
        if self.memory == "checkpoint":
            raise ValueError(
                "inner.memory: checkpoint was removed, give adjoint: the same gradients and memory, but faster"
            )
        if self.steps < 1 or self.support < 1:
            raise ValueError(f"inner.steps and inner.support: {self.steps}, {self.support}: at least 1 each")
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"inner.rate: {self.rate}, give more than 0, or none for the one that was tuned")
        if self.query is not None and self.query < 1:
            raise ValueError(f"inner.query: {self.query}, give at least 1, or none for inner.support")
        if self.adaptation_steps < self.steps:
            raise ValueError(
                f"inner.adaptation_steps: {self.adaptation_steps} is below inner.steps: {self.steps}; "
                "a model adapted with fewer steps than it was trained for is not the trained one"
            )


@dataclass(frozen=True)
class OuterOptions:
    """The outer loop.

    Args:
        iterations: updates of the shared weights.
        persons: listeners a step, shared out over all processes.
        learning_rate: of Adam on the weights.
        rates_learning_rate: of Adam on the learned rates.
        cosine: cosine decay of both learning rates after a warm-up; false: both stay as they are.
        clip_norm: longest outer gradient (2-norm over weights and rates); none: as it comes.
        validate_every: iterations between two looks at the validation episodes.
        patience: looks in a row without a better macro-F1 after adaptation that end the training; none:
            all iterations.
    """

    iterations: int = 200
    persons: int = 4
    learning_rate: float = 1e-3
    rates_learning_rate: float = 1e-3
    cosine: bool = True
    clip_norm: float | None = 10.0
    validate_every: int = 40
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "persons", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"outer.{name}: {getattr(self, name)}, give at least 1")
        for name in ("learning_rate", "rates_learning_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"outer.{name}: {getattr(self, name)}, give at least 0")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"outer.patience: {self.patience}, give at least 1, or none for no early stop")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"outer.clip_norm: {self.clip_norm}, give more than 0, or none for no clipping")


@dataclass(frozen=True)
class LslrOptions:
    """Learned learning rates per layer and step (LSLR, Meta-PerSER 2.3.4).

    Args:
        granularity: one rate a step for each parameter tensor (as MAML++ has it) or module (as learn2learn
            has it: a weight and its bias share one), or off: one fixed rate for everything.
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
        by: off (second order throughout), inner_steps (the first of every inner loop's steps are first
            order, as the paper says) or training (the first of the outer iterations are, as MAML++ does).
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
    losses after every inner step, shifted to the last one as training goes on.

    Args:
        enabled: off: the loss after the last step alone.
        epochs: after so many the last step's loss is alone; an epoch is as many iterations as it takes to
            draw the number of training persons once, ceil(training persons / outer.persons).
    """

    enabled: bool = False
    epochs: int = 15

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"multi_step_loss.epochs: {self.epochs}, give at least 1")
