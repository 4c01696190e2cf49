"""Learned learning rates for every layer and inner step (LSLR: MAML++, Antoniou et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from meta_perser.options import Beyond, LslrOptions


class LearnedRates(nn.Module):
    """Rates alpha[tensor, step], all started at one value.

    With a free sign a rate is its parameter, and may turn negative: the direction is learned too. With a
    positive one it is initial * exp(parameter), from 0: exactly the initial rate at first, and the outer
    learning rate counts in shares of it.

    Args:
        names: the parameter tensors that move.
        steps: how many inner steps are learned.
        initial: the value that every rate starts at.
        options: one rate a tensor or a module, its sign, and which rate a step beyond the last learned one
            takes.
    """

    def __init__(
        self, names: Sequence[str], steps: int, initial: float, options: LslrOptions = LslrOptions()
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"inner.steps: {steps}, learned rates need at least one inner step")
        if options.sign == "positive" and initial <= 0:
            raise ValueError(f"inner.rate: {initial}, but lslr.sign: positive keeps every rate above 0")
        self.names = list(names)
        self.options = options
        owners = [_module_of(name) if options.granularity == "module" else name for name in names]
        self.rows = list(dict.fromkeys(owners))
        """What has a rate: tensors or modules, by name."""
        self._row_of_name = [self.rows.index(owner) for owner in owners]
        start = 0.0 if options.sign == "positive" else float(initial)
        self.rates = nn.Parameter(torch.full((len(self.rows), steps), start))
        self.register_buffer("initial", torch.tensor(float(initial)))

    def at(self, step: int) -> dict[str, Tensor]:
        """Name to rate (a scalar tensor) of inner step `step`, from 0."""
        of_row = self._of_rows(step).unbind()
        return {name: of_row[row] for name, row in zip(self.names, self._row_of_name, strict=True)}

    def table(self, steps: int) -> Tensor:
        """The rates of the first `steps` steps as one tensor (steps, num_names)."""
        return torch.stack([self._of_rows(step) for step in range(steps)])[:, self._row_of_name]

    def _of_rows(self, step: int) -> Tensor:
        """Every row's rate (num_rows,) at a step, from 0."""
        return self._beyond(self.options.beyond) if step >= self.rates.shape[1] else self._learned(step)

    def _learned(self, step: int) -> Tensor:
        return self._values()[:, step]

    def _beyond(self, rule: Beyond) -> Tensor:
        if rule == "initial":
            return self.initial.expand(len(self.rows))
        return self._values().mean(dim=1) if rule == "mean" else self._learned(-1)

    def _values(self) -> Tensor:
        return self.initial * self.rates.exp() if self.options.sign == "positive" else self.rates


class ConstantRate(nn.Module):
    """One rate for every tensor and step: plain gradient descent."""

    def __init__(self, names: Sequence[str], rate: float) -> None:
        super().__init__()
        self.names = list(names)
        self.register_buffer("rate", torch.tensor(float(rate)))

    def at(self, step: int) -> dict[str, Tensor]:
        """Name to rate, the same at every step."""
        return dict.fromkeys(self.names, self.rate)

    def table(self, steps: int) -> Tensor:
        """The rates of the first `steps` steps as one tensor (steps, num_names)."""
        return self.rate.expand(steps, len(self.names))


Rates = LearnedRates | ConstantRate


def make_rates(names: Sequence[str], steps: int, initial: float, options: LslrOptions) -> Rates:
    """Learned rates, or the initial one throughout where `options.granularity` is off."""
    if options.granularity == "off":
        return ConstantRate(names, initial)
    return LearnedRates(names, steps, initial, options)


def _module_of(name: str) -> str:
    """The module that owns a parameter; the parts of a parametrized weight belong to the weight's module."""
    return (
        name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
    )
