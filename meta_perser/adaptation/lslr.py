"""Learned inner learning rates: one alpha for each layer and inner step.

MAML++'s LSLR, per-layer per-step learning rates (Antoniou et al. 2019, section 4; Meta-PerSER 2.3.4):
theta_{s+1}[layer] = theta_s[layer] - alpha[layer, s] * grad L(theta_s)[layer], alpha meta-learned with theta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from meta_perser.options import LslrOptions
from perser.errors import UserError

Initial = float | Mapping[str, float]
"""The rate that everything starts with, or that of each tensor by name; where it is 0, a tensor stays as it
is."""


class LearnedRates(nn.Module):
    """Per-layer per-step rates alpha[layer, s], which start at given values.

    A layer is a parameter tensor (as in MAML++) or a module (as in learn2learn). What is learned is relative
    to the start, so that one outer learning rate fits every start; the parameters begin at 0:

    - free sign: alpha = initial * (1 + phi), with a phi for each layer and step. It may turn negative, so
      that the direction is learned too. (With `relative: false`, alpha itself is the parameter.)
    - positive sign: alpha = initial * exp(phi).
    - schedule: alpha_s = initial * exp(a + c * log(1 + s)), with an a and a c for each layer.

    Args:
        names: the parameter tensors that move.
        steps: how many inner steps have learned rates.
        initial: the value that every rate starts at.
        options: granularity and sign, and which rate a step beyond the last learned one takes.
    """

    initial: Tensor
    _layer_index: Tensor

    def __init__(
        self, names: Sequence[str], steps: int, initial: Initial, options: LslrOptions = LslrOptions()
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"inner.steps: {steps}, but learned rates need at least one inner step")
        if options.sign == "positive" and not isinstance(initial, Mapping) and initial <= 0:
            raise ValueError(f"inner.rate: {initial}, but lslr.sign: positive needs a rate above 0")
        self.names = list(names)
        self.steps = steps
        self.options = options
        layers = [_module_of(name) if options.per_module else name for name in names]
        self.layers = list(dict.fromkeys(layers))
        """The tensors or modules that have a rate, by name: the rows of alpha."""
        by_layer = dict(zip(layers, _by_name(names, initial), strict=True))
        self.register_buffer("initial", _initial_buffer(initial, [by_layer[layer] for layer in self.layers]))
        """What the rates started at: one number, or one for each layer."""
        start = torch.zeros(len(self.layers), 2 if options.is_schedule else steps)
        if not options.relative:
            start = start + self.initial.unsqueeze(-1)
        self.rates = nn.Parameter(start)
        # On the rates' device: a list as an index would be copied to a GPU at every call, which waits for it.
        index = torch.tensor([self.layers.index(layer) for layer in layers])
        self.register_buffer("_layer_index", index, persistent=False)

    def table(self, steps: int) -> Tensor:
        """Return alpha of the first `steps` steps, (steps, num_names).

        Raises UserError where a schedule would have to go on beyond the steps that it was trained with.
        """
        learned = self._learned()
        further = steps - self.steps
        if further > 0:
            learned = torch.cat([learned, self._beyond(learned).unsqueeze(1).expand(-1, further)], dim=1)
        return learned[self._layer_index, :steps].T

    def _learned(self) -> Tensor:
        """Return alpha of every layer and learned step, (num_layers, S)."""
        initial = self.initial.unsqueeze(-1)
        if self.options.is_schedule:
            start, slope = self.rates.unbind(dim=1)
            times = torch.arange(1, self.steps + 1, device=self.rates.device, dtype=self.rates.dtype)
            return initial * torch.exp(start.unsqueeze(1) + slope.unsqueeze(1) * times.log())
        if self.options.sign == "positive":
            return initial * self.rates.exp()
        return initial * (1 + self.rates) if self.options.relative else self.rates

    def _beyond(self, learned: Tensor) -> Tensor:
        """Return alpha of every layer (num_layers,) at the steps after the learned ones."""
        if self.options.is_schedule:
            raise UserError(
                f"this model's schedule of rates (lslr.granularity: {self.options.granularity}) was trained "
                f"with {self.steps} steps and does not go beyond them: adapt with at most {self.steps}"
            )
        if self.options.beyond == "initial":
            return self.initial.expand(len(self.layers))
        return learned.mean(dim=1) if self.options.beyond == "mean" else learned[:, -1]


class ConstantRate(nn.Module):
    """A rate alpha that is the same at every step, and not learned: plain gradient descent (MAML)."""

    rate: Tensor

    def __init__(self, names: Sequence[str], rate: Initial) -> None:
        super().__init__()
        self.names = list(names)
        self.register_buffer("rate", _initial_buffer(rate, _by_name(names, rate)))
        """One number, or one for each tensor."""

    def table(self, steps: int) -> Tensor:
        """Return alpha of the first `steps` steps, (steps, num_names)."""
        return self.rate.expand(steps, len(self.names))


Rates = LearnedRates | ConstantRate


def make_rates(names: Sequence[str], steps: int, initial: Initial, options: LslrOptions) -> Rates:
    """Return learned rates, or constant ones where `options.granularity` is off."""
    if options.granularity == "off":
        return ConstantRate(names, initial)
    return LearnedRates(names, steps, initial, options)


def saved_rates(names: Sequence[str], steps: int, options: LslrOptions, state: Mapping[str, Tensor]) -> Rates:
    """Return the rates whose `state_dict` was saved."""
    rates = make_rates(names, steps, 1.0, options)
    for start in ("initial", "rate"):
        if start in state:  # one number, or one for each layer
            setattr(rates, start, torch.empty_like(state[start]))
    rates.load_state_dict(dict(state))
    return rates


def _by_name(names: Sequence[str], initial: Initial) -> list[float]:
    return [initial[name] if isinstance(initial, Mapping) else initial for name in names]


def _initial_buffer(initial: Initial, each: Sequence[float]) -> Tensor:
    """Return one number where everything starts alike, else `each`."""
    return torch.tensor([*each] if isinstance(initial, Mapping) else float(initial))


def _module_of(name: str) -> str:
    """Return the module that owns a parameter; for a part of a parametrized weight, the weight's module."""
    return (
        name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
    )
