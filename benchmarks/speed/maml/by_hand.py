"""Compare our steps with a torch.func loop written by hand, on hidden states that are computed once.

Ratios are ours over theirs, so that more than 1 means that ours is slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from benchmarks.speed.maml import ours
from benchmarks.speed.maml.case import RATE, MamlCase, loss, make_case
from benchmarks.speed.timing.comparison import Row, Timing, check_agreement
from benchmarks.speed.timing.operations import count_operations
from benchmarks.speed.timing.rounds import distance, time_in_rounds
from meta_perser.recognizer.clip_batch import ClipBatch

Weights = dict[str, Tensor]
Loss = Callable[[Weights, ClipBatch, Tensor], Tensor]

CLIPS = 12
PERSONS = {"head": 8, "layers": 2}
STEPS = {"head": 50, "layers": 3}
"""By what moves; steps through layers take long."""

SCOPES = {"head": "head", "top_layers:1": "top_layers", "all": "all"}
"""What moves, and how the ratios' names begin."""


@dataclass(frozen=True)
class ByHand:
    """Plain gradient descent with torch.func, in as few lines as it takes.

    Args:
        loss: Function of the weights that move, a batch and its targets.
    """

    loss: Loss

    def adapt(self, theta: Weights, batch: ClipBatch, targets: Tensor, steps: int) -> Weights:
        """Return the weights after these steps."""
        gradient = grad(self.loss)
        for _ in range(steps):
            step = gradient(theta, batch, targets)
            theta = {name: weight - RATE * step[name] for name, weight in theta.items()}
        return theta

    def outer_gradients(self, theta: Weights, persons: list[tuple[ClipBatch, Tensor]], steps: int) -> Weights:
        """Return the gradient of the persons' mean loss after adaptation, through all of its steps."""

        def outer(start: Weights) -> Tensor:
            losses = [self.loss(self.adapt(start, *person, steps), *person) for person in persons]
            return torch.stack(losses).mean()

        return grad(outer)(theta)


def head_loss(case: MamlCase) -> Loss:
    """Return the loss of the head alone, as one writes it down."""
    mean, scale = case.model.state_mean, case.model.state_scale

    def value(theta: Weights, batch: ClipBatch, targets: Tensor) -> Tensor:
        states = (batch.lower - mean) / scale
        embedded = torch.einsum("l,bld->bd", theta["layer_logits"].softmax(dim=0), states)
        hidden = F.linear(embedded, theta["projector.weight"], theta["projector.bias"])
        return loss(F.linear(hidden, theta["classifier.weight"], theta["classifier.bias"]), targets)

    return value


def whole_loss(case: MamlCase) -> Loss:
    """Return the loss of a recognizer whose layers move, by torch's functional_call."""
    return lambda theta, batch, targets: loss(functional_call(case.model, theta, (batch,)), targets)


def compare_with_by_hand(
    shapes: dict[str, Any], scope: str, device: str, rounds: int, seed: int
) -> list[Timing]:
    """Time an adaptation, and an outer step over several persons, ours and by hand.

    Raises RuntimeError if they do not compute the same.
    """
    kind = "head" if scope == "head" else "layers"
    steps, seeds = STEPS[kind], range(seed, seed + PERSONS[kind])
    cases = [make_case(shapes, CLIPS, device, seed=own, scope=scope) for own in seeds]
    case = cases[0]
    # One model; of the other cases only the clips are used.
    persons = [(ours.encode_anew(_with_model(case, each)), each.targets) for each in cases]
    theta = {name: weight.detach() for name, weight in case.model.trainable_parameters().items()}
    by_hand = ByHand(head_loss(case) if scope == "head" else whole_loss(case))
    (batch, targets), key = persons[0], SCOPES[scope]
    adaptation = _timing(
        f"{key}_adapt_vs_by_hand",
        f"{steps} steps of adaptation, {scope}, K = {CLIPS}, features cached",
        lambda: list(by_hand.adapt(theta, batch, targets, steps).values()),
        lambda: ours.adapted_weights(case, batch, steps),
        rounds,
        case,
    )
    outer = _timing(
        f"{key}_meta_step_vs_by_hand",
        f"an outer step, {len(persons)} persons x {steps} second-order steps, {scope}, K = {CLIPS}, "
        "features cached",
        lambda: list(by_hand.outer_gradients(theta, persons, steps).values()),
        lambda: ours.outer_gradients_of_persons(case, persons, steps),
        rounds,
        case,
    )
    return [adaptation, outer]


def _with_model(case: MamlCase, clips: MamlCase) -> MamlCase:
    return MamlCase(case.model, clips.waveforms, clips.targets, case.precision)


def _timing(
    ratio: str,
    title: str,
    theirs: Callable[[], list[Tensor]],
    own: Callable[[], list[Tensor]],
    rounds: int,
    case: MamlCase,
) -> Timing:
    runs = {"by hand": theirs, "ours": own}
    agreement = {"by hand": distance(own(), theirs())}
    check_agreement(agreement)
    taken = time_in_rounds(runs, rounds, case.device)
    rows = [Row(name, taken[name], count_operations(run)) for name, run in runs.items()]
    return Timing(title, rows, rows[1], [], {ratio: rows[1].seconds / rows[0].seconds}, agreement)
