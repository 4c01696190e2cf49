"""Options of pretraining and meta-training: one dataclass for each part of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from meta_perser.scope import lora_rank
from perser.errors import UserError
from perser.training.options import Criterion, OptimizationOptions, check_at_least

CONFIG = "meta_perser.json"
"""The file that every folder of a recognizer has. It is defined here because this module imports nothing
large."""

BEST, LAST = "best", "last"
"""The folders of a running meta-training's models. A finished model's folder is the best one, with the last
one in `LAST`."""

Target = Literal["ssl-e", "linear", "multi"]
Init = Literal["ssl-e", "encoder"]
Memory = Literal["unroll", "adjoint", "adjoint_host"]
# YAML reads a bare `off` as false: both are accepted, and stored as "off".
Granularity = Literal["off", "tensor", "module", "schedule", "module_schedule", False]
Annealing = Literal["off", "inner_steps", "training", False]
Sign = Literal["free", "positive"]
Solver = Literal["steps", "proximal"]
Beyond = Literal["last", "mean", "initial"]
Moves = Literal["scope", "classifier"]
Update = Literal["maml", "reptile"]
Standardize = bool | Literal["each"]

EACH = "each"
"""The standardization by which each corpus that was joined has moments of its own."""


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
        epochs: passes over the training utterances; 0, with --from: the classifier stays as it is, and only
            the settings for adapting it are chosen.
        steps: optimizer steps instead of epochs; none: as many as the epochs take.
        validate_every: steps between two validations; none: one after each epoch.
        weight_decay: weight decay of AdamW.
        label_smoothing: share of every target that is spread over all emotions (EMO-SUPERB: 0.05).
        standardize: whether hidden states are standardized on the training utterances before they are
            weighed and summed, here and in everything that starts from this model (not in the paper): true,
            on all of them; each, on those of their own corpus, where several were joined (`perser join`),
            which needs scope head or linears; false, not at all.
        dropout: share that the encoder's dropout layers drop in this training; 0: none. Attention weights and
            whole layers are not dropped.
        mask_time: share of the front-end's frames that are hidden in this training, in stretches of 10; 0:
            none. Both need an encoder whose layers are trained.
        class_balanced: whether rare emotions weigh more in the loss, here and in everything that starts from
            this model (Cui et al. 2019; as in the paper); false: every utterance weighs the same.
        head_learning_rate: learning rate of layers that begin with random weights: all of target linear, and
            the heads of target multi; none: `learning_rate`.
        selection: what chooses the best step here, and the settings of the baselines on this model, on the
            validation episodes: log_loss, or maF1 (macro-F1 at p > 1/C).
        adaptation_steps: gradient steps of the fine-tuning baselines, whose learning rates are chosen here on
            the validation episodes, by successive halving over a grid that grows at its edges.
        lora: LoRA-Few's adapters on SSL-E: lora (rank 8), lora:R (rank R) or lora:R:N (the N highest layers
            alone); none: no learning rate is chosen for LoRA-Few, and it cannot be measured.
        seed: seed of weights and batches.
    """

    scope: str = "all"
    head_size: int = 256
    frame_window: int = 1
    logit_scale: bool = False
    epochs: int = 20
    # None stands for a number that depends on the corpus, which this training works out.
    steps: int | None = None  # type: ignore[assignment]
    validate_every: int | None = None  # type: ignore[assignment]
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    standardize: Standardize = True
    dropout: float = 0.0
    mask_time: float = 0.0
    class_balanced: bool = True
    head_learning_rate: float | None = None
    selection: Criterion = "log_loss"
    adaptation_steps: int = 50
    lora: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_size", "frame_window", "adaptation_steps"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("epochs", self.epochs, 0)
        check_at_least("weight_decay", self.weight_decay, 0)
        check_at_least("head_learning_rate", self.head_learning_rate, 0)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing: {self.label_smoothing}, give at least 0 and less than 1")
        if self.frame_window > 1 and self.scope in ("all", "head", "linears"):
            raise ValueError(
                f"frame_window: {self.frame_window} needs scope top_layers:N or lora:R:N: give one, or 1"
            )
        for name in ("dropout", "mask_time"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ValueError(f"{name}: {share}, give at least 0 and less than 1")
            if share and self.scope in ("head", "linears"):
                raise ValueError(
                    f"{name}: {share}, but scope {self.scope} trains no layer that it applies to"
                )
        if self.standardize not in (True, False, EACH):
            raise ValueError(f"standardize: {self.standardize}, give true, each or false")
        if self.standardize == EACH and (self.scope not in ("head", "linears") or self.lora is not None):
            raise ValueError(
                "standardize: each, but with it the head alone can be trained: give scope head or linears, "
                "without lora, or standardize: true"
            )
        if self.lora is not None and lora_rank(self.lora) is None:
            raise ValueError(f"lora: '{self.lora}', give lora, lora:R, lora:R:N or none")


def check_standardization(standardize: object, scope: str) -> None:
    """Raise UserError for a scope that moves layers, which read the frames of clips as they are, where each
    corpus has moments of its own."""
    if standardize == EACH and scope not in ("head", "linears"):
        raise UserError(
            f"scope: {scope} moves layers, but with standardize: each (of SSL-E) the head alone can be "
            "trained: give head or linears, or train SSL-E with standardize: true"
        )


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
            graph: fastest), adjoint (keep every step's weights, and compute one Hessian-vector product a
            step backwards: the memory of one step's graph, however many steps there are) or adjoint_host (the
            same, with every step's weights in the computer's main memory instead of the GPU's).
        clips_at_once: how many clips are in memory with their graph at once; the others follow group by
            group, and the gradients are the same. It needs memory adjoint or adjoint_host. None: all clips.
        moves: what the inner loop moves: all of the scope, or the last linear layer alone (classifier: ANIL,
            Raghu et al. 2020). The outer loop moves all of the scope in either case.
    """

    steps: int = 5
    support: int = 32
    query: int | None = None
    rate: float | None = None
    adaptation_steps: int = 50
    memory: Memory = "unroll"
    clips_at_once: int | None = None
    moves: Moves = "scope"
    solver: Solver = "steps"

    def __post_init__(self) -> None:
        for name in ("steps", "support", "query", "clips_at_once"):
            check_at_least(f"inner.{name}", getattr(self, name), 1)
        if self.clips_at_once is not None and self.memory == "unroll":
            raise ValueError(
                f"inner.clips_at_once: {self.clips_at_once}, but inner.memory: unroll keeps the graph of "
                "every clip: give adjoint or adjoint_host"
            )
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
        rates_learning_rate: Adam's learning rate for the learned rates, relative to their start: 0.1 moves a
            rate by at most about a tenth of its start in a step (unless `lslr.relative` is false).
        head_learning_rate: learning rate of a fresh head (`init: encoder`), which has further to go than the
            encoder; a head of SSL-E has `learning_rate`.
        update: maml (follow the gradient of the outer loss) or reptile (Nichol et al. 2018: follow theta -
            theta_S, to where the inner loop leads; there is no query, and no rates are learned).
        strengths_learning_rate: Adam's learning rate for the logarithms of the proximal solver's lambdas.
        cosine: whether both learning rates warm up and then fall along a cosine; false: they stay as they
            are.
        patience: stop after this many validations in a row without a better score; none: take all steps.
        f1_weight: weight of 1 minus a smooth macro-F1 at p > 1/C, which is added to the outer loss on the
            query (not in the paper); it needs csmt: false. Log loss alone holds a person's rare emotions
            back: at little cost in nats, more of them are said.
    """

    prefix: ClassVar[str] = "outer."

    steps: int = 200
    batch_size: int = 4
    clip_norm: float | None = 10.0
    validate_every: int = 40
    rates_learning_rate: float = 0.1
    head_learning_rate: float = 1e-3
    update: Update = "maml"
    strengths_learning_rate: float = 0.1
    cosine: bool = True
    patience: int | None = None
    f1_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("outer.f1_weight", self.f1_weight, 0)
        check_at_least("outer.rates_learning_rate", self.rates_learning_rate, 0)
        check_at_least("outer.head_learning_rate", self.head_learning_rate, 0)
        check_at_least("outer.strengths_learning_rate", self.strengths_learning_rate, 0)
        check_at_least("outer.patience", self.patience, 1)


@dataclass(frozen=True)
class LslrOptions:
    """Learned learning rates per layer and step (LSLR, Meta-PerSER 2.3.4).

    Args:
        granularity: one rate a step for each parameter tensor (as in MAML++) or module (as in learn2learn: a
            weight and its bias share one); schedule: for each tensor, log alpha = a + c * log(1 + s) at step
            s, two numbers instead of S, and positive whatever `sign` says; module_schedule: the same for each
            module; off: one fixed rate for everything. A schedule is never used beyond the steps that it was
            trained with: inner.adaptation_steps has to be inner.steps.
        sign: free (a rate may turn negative, and with it the direction) or positive.
        beyond: the rate of an adaptation step after the last learned one: the initial rate, the last learned
            one, or the mean over the learned steps. The paper does not say which; a model keeps the one that
            it was meta-trained with. A rate that is good for 5 steps is far too large for 50: `last` and
            `mean` can ruin an adaptation.
        relative: learn phi in alpha = initial * (1 + phi), so that outer.rates_learning_rate is a share of
            the initial rate; false: learn alpha itself, as version 0.1.0 did. Positive rates are always
            relative.
    """

    granularity: Granularity = "tensor"
    sign: Sign = "free"
    beyond: Beyond = "initial"
    relative: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "granularity", self.granularity or "off")
        if self.is_schedule:
            object.__setattr__(self, "sign", "positive")
        elif self.granularity == "off":
            for name, default in (("sign", "free"), ("beyond", "initial"), ("relative", True)):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"lslr.{name}: {getattr(self, name)} means nothing with lslr.granularity: off; "
                        "no rate is learned"
                    )
        if self.sign == "positive" and not self.relative:
            raise ValueError("lslr.relative: false, but positive rates are always relative to their start")

    @property
    def is_schedule(self) -> bool:
        """Whether the rates follow a + c * log(1 + s)."""
        return self.granularity in ("schedule", "module_schedule")

    @property
    def per_module(self) -> bool:
        """Whether the tensors of a module share their rates."""
        return self.granularity in ("module", "module_schedule")

    @classmethod
    def of_saved(cls, saved: Mapping[str, Any]) -> Self:
        """Return the options saved with a model; those of version 0.1.0 do not say `relative`."""
        if saved["granularity"] == "off":
            return cls(granularity="off")
        return cls(**{"relative": saved["sign"] == "positive", **saved})


@dataclass(frozen=True)
class AnnealingOptions:
    """Derivative annealing: first-order inner gradients early, second-order ones after (DA, 2.3.3).

    Args:
        by: inner_steps (the first steps of every inner loop are first order, as the paper says), training
            (the first steps of the outer loop are, as in MAML++) or off (second order throughout).
        share: how much of either is first order, 0 to 1. Of the inner steps it is the nearest whole number,
            and a half is rounded down: 0.3 of 5 steps is 1.
    """

    by: Annealing = "inner_steps"
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
        enabled: whether each inner step has an outer loss; false: the last one only.
        epochs: after so many epochs, only the last step's loss counts. An epoch is ceil(training persons /
            outer.batch_size) outer steps.
    """

    enabled: bool = False
    epochs: int = 15

    def __post_init__(self) -> None:
        check_at_least("multi_step_loss.epochs", self.epochs, 1)


def check_trains(epochs: int, steps: int | None) -> None:
    """Raise UserError where a training from an encoder, which is no recognizer yet, would have no step."""
    if epochs == 0 and steps is None:
        raise UserError("pretrain.epochs: 0 trains nothing: give at least 1, or --from a classifier")


def check_rates(inner: InnerOptions, outer: OuterOptions, lslr: LslrOptions) -> None:
    """Raise UserError where the rates cannot be learned, or not be used, as the other options say."""
    if lslr.is_schedule and inner.adaptation_steps > inner.steps:
        raise UserError(
            f"inner.adaptation_steps: {inner.adaptation_steps}, but lslr.granularity: {lslr.granularity} is "
            f"never used beyond the inner.steps: {inner.steps} that it is trained with: give both the same "
            "number"
        )
    if outer.update == "reptile" and lslr.granularity != "off":
        raise UserError(
            f"lslr.granularity: {lslr.granularity}, but outer.update: reptile learns no rates: give off"
        )
