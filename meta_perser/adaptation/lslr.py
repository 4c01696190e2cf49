"""Learned inner learning rates: one alpha for each layer and inner step.

MAML++'s LSLR, per-layer per-step learning rates (Antoniou et al. 2019, section 4; Meta-PerSER 2.3.4):
theta_{s+1}[layer] = theta_s[layer] - alpha[layer, s] * grad L(theta_s)[layer], alpha meta-learned with theta.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from meta_perser.options import LslrOptions


class LearnedRates(nn.Module):
    """Per-layer per-step rates alpha[layer, s], all started at one value.

    A layer is a parameter tensor (as in MAML++) or a module (as in learn2learn). With a free sign, alpha is
    the parameter itself and may turn negative, so that the direction is learned too. With a positive sign,
    alpha = initial * exp(parameter), and the parameter starts at 0: alpha starts at exactly the initial rate,
    and the outer learning rate is relative to it.

    Args:
        names: the parameter tensors that move.
        steps: how many inner steps have learned rates.
        initial: the value that every rate starts at.
        options: granularity and sign, and which rate a step beyond the last learned one takes.
    """

    def __init__(
        self, names: Sequence[str], steps: int, initial: float, options: LslrOptions = LslrOptions()
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"inner.steps: {steps}, but learned rates need at least one inner step")
        if options.sign == "positive" and initial <= 0:
            raise ValueError(f"inner.rate: {initial}, but lslr.sign: positive needs a rate above 0")
        self.names = list(names)
        self.options = options
        layers = [_module_of(name) if options.granularity == "module" else name for name in names]
        self.layers = list(dict.fromkeys(layers))
        """The tensors or modules that have a rate, by name: the rows of alpha."""
        self._layer_of_name = [self.layers.index(layer) for layer in layers]
        start = 0.0 if options.sign == "positive" else float(initial)
        self.rates = nn.Parameter(torch.full((len(self.layers), steps), start))
        self.register_buffer("initial", torch.tensor(float(initial)))
        # On the rates' device: a list as an index would be copied to a GPU at every call, which waits for it.
        self.register_buffer("_layer_index", torch.tensor(self._layer_of_name), persistent=False)

    def at(self, step: int) -> dict[str, Tensor]:
        """Return alpha of inner step `step` (from 0): tensor name to scalar."""
        by_layer = self._of_layers(step).unbind()
        return {name: by_layer[layer] for name, layer in zip(self.names, self._layer_of_name, strict=True)}

    def table(self, steps: int) -> Tensor:
        """Return alpha of the first `steps` steps, (steps, num_names)."""
        return torch.stack([self.of_tensors(step) for step in range(steps)])

    def of_tensors(self, step: int) -> Tensor:
        """Return alpha of inner step `step` (from 0), (num_names,)."""
        return self._of_layers(step)[self._layer_index]

    def _of_layers(self, step: int) -> Tensor:
        """Return alpha of every layer (num_layers,) at a step, from 0."""
        alpha = self.initial * self.rates.exp() if self.options.sign == "positive" else self.rates
        if step < alpha.shape[1]:
            return alpha[:, step]
        if self.options.beyond == "initial":
            return self.initial.expand(len(self.layers))
        return alpha.mean(dim=1) if self.options.beyond == "mean" else alpha[:, -1]


class ConstantRate(nn.Module):
    """One rate alpha for every tensor and step, not learned: plain gradient descent (MAML)."""

    def __init__(self, names: Sequence[str], rate: float) -> None:
        super().__init__()
        self.names = list(names)
        self.register_buffer("rate", torch.tensor(float(rate)))

    def at(self, step: int) -> dict[str, Tensor]:
        """Return alpha, the same at every step: tensor name to scalar."""
        return dict.fromkeys(self.names, self.rate)

    def table(self, steps: int) -> Tensor:
        """Return alpha of the first `steps` steps, (steps, num_names)."""
        return self.rate.expand(steps, len(self.names))

    def of_tensors(self, step: int) -> Tensor:
        """Return alpha, the same at every step, (num_names,)."""
        return self.rate.expand(len(self.names))


Rates = LearnedRates | ConstantRate


def make_rates(names: Sequence[str], steps: int, initial: float, options: LslrOptions) -> Rates:
    """Return learned rates, or one constant rate where `options.granularity` is off."""
    if options.granularity == "off":
        return ConstantRate(names, initial)
    return LearnedRates(names, steps, initial, options)


def _module_of(name: str) -> str:
    """Return the module that owns a parameter; for a part of a parametrized weight, the weight's module."""
    return (
        name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
    )
