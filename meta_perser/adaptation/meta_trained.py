"""The meta-trained model: a recognizer with all that adapting it needs, saved as one folder."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from meta_perser.adaptation.adaptation_loss import WeightedLoss, class_balanced_loss
from meta_perser.adaptation.lslr import Rates, saved_rates
from meta_perser.adaptation.personalizer import GradientPersonalizer
from meta_perser.adaptation.proximal.personalizer import ProximalPersonalizer
from meta_perser.adaptation.proximal.strengths import Strengths
from meta_perser.options import LslrOptions, Solver
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import CHECKSUMMED, EmotionRecognizer, saved_settings
from perser.errors import UserError, explain_damage
from perser.io.checksums import write_checksums

RATES_FILE = "rates.safetensors"


@dataclass
class MetaPerSER:
    """A recognizer trained by `perser meta-train`, and how it adapts.

    Args:
        model: the recognizer; its weights are theta, the meta-learned start.
        rates: alpha of the inner loop, or with the proximal solver the strengths lambda.
        lslr: how the rates were learned.
        inner_steps: S of meta-training.
        adaptation_steps: inner steps of meta-testing.
        class_weights: of the loss, (num_emotions,).
        label_smoothing: of the loss.
    """

    model: EmotionRecognizer
    rates: Rates | Strengths
    lslr: LslrOptions
    inner_steps: int
    adaptation_steps: int
    class_weights: Tensor
    label_smoothing: float

    @property
    def solver(self) -> Solver:
        """How a person's weights are found."""
        return "proximal" if isinstance(self.rates, Strengths) else "steps"

    @property
    def loss(self) -> WeightedLoss:
        """The class-balanced cross-entropy of both loops, where they take gradient steps."""
        return class_balanced_loss(self.class_weights, self.label_smoothing)

    def to(self, device: str | torch.device) -> Self:
        """Move recognizer, rates and class weights to a device."""
        self.model.to(device)
        self.rates.to(device)
        self.class_weights = self.class_weights.to(device)
        return self

    def personalizer(self, source: ClipSource) -> GradientPersonalizer | ProximalPersonalizer:
        """Return the personalizer that adapts the recognizer, on its present device, to clips of `source`.

        Rates on another device are copied there, because other threads may be using them.
        """
        device = self.model.layer_logits.device
        is_there = all(tensor.device == device for tensor in self.rates.state_dict().values())
        rates = self.rates if is_there else deepcopy(self.rates).to(device)
        if isinstance(rates, Strengths):
            return ProximalPersonalizer(self.model, source, rates, self.label_smoothing)
        loss = class_balanced_loss(self.class_weights.to(device), self.label_smoothing)
        return GradientPersonalizer(self.model, source, rates, loss, self.adaptation_steps)

    def save_pretrained(self, folder: Path, **extra: object) -> None:
        """Write the recognizer as its own `save_pretrained` does, and the rates beside it.

        `saved_settings` reads `extra`, among the settings above.
        """
        self.model.save_pretrained(
            folder,
            solver=self.solver,
            lslr=asdict(self.lslr),
            inner_steps=self.inner_steps,
            adaptation_steps=self.adaptation_steps,
            class_weights=self.class_weights.tolist(),
            label_smoothing=self.label_smoothing,
            **extra,
        )
        state = {name: tensor.detach().contiguous() for name, tensor in self.rates.state_dict().items()}
        save_file(state, Path(folder) / RATES_FILE)
        write_checksums(Path(folder), CHECKSUMMED)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load what `save_pretrained` wrote. Raises UserError where the folder holds no such model."""
        folder = Path(folder)
        model, extra = EmotionRecognizer.from_pretrained(folder), saved_settings(folder)
        if not (folder / RATES_FILE).is_file() or "lslr" not in extra:
            raise UserError(f"{folder} holds no meta-trained model: train one with `perser meta-train`")
        with explain_damage(f"the model in {folder}", "train it again"):
            lslr = LslrOptions.of_saved(extra["lslr"])
            state = load_file(folder / RATES_FILE)
            if extra.get("solver", "steps") == "proximal":
                rates: Rates | Strengths = Strengths()
                rates.load_state_dict(state)
            else:
                rates = saved_rates(list(model.trainable_parameters()), extra["inner_steps"], lslr, state)
            return cls(
                model=model,
                rates=rates,
                lslr=lslr,
                inner_steps=extra["inner_steps"],
                adaptation_steps=extra["adaptation_steps"],
                class_weights=torch.tensor(extra["class_weights"]),
                label_smoothing=extra["label_smoothing"],
            )
