"""AdamW for meta-training, with one learning rate for the projector and one for the language model.

What binds pairs is learned with the language model: a projector that its own stage has trained needs small
steps, and this starts at random.
"""

from __future__ import annotations

import torch

from perser.errors import require_package
from speechlm_icl.training.learner import Learner
from speechlm_icl.training.options import IclOptions


def check_optimizer(name: str) -> None:
    """Raise UserError where the optimizer's library is not installed."""
    if name == "adamw8bit":
        require_package("bitsandbytes", "quantized", "optimizer: adamw8bit")


def new_optimizer(model: Learner, options: IclOptions) -> torch.optim.Optimizer:
    """Return AdamW over the trained parameters.

    With 8 bits, tensors of fewer than 4,096 numbers still keep their moments in float32.
    """
    binding = [] if model.binding is None else list(model.binding.parameters())
    language = [*binding, *(one for one in model.language_model.parameters() if one.requires_grad)]
    in_language = {id(parameter) for parameter in language}
    projector = [
        parameter
        for parameter in model.parameters()
        if parameter.requires_grad and id(parameter) not in in_language
    ]
    rate = options.language_learning_rate
    groups = [
        {"params": projector, "lr": options.learning_rate},
        {"params": language, "lr": options.learning_rate if rate is None else rate},
    ]
    groups = [group for group in groups if group["params"]]  # of an audio LLM, none is ours alone
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    from bitsandbytes.optim import AdamW8bit  # slow to import, and it prints a warning

    return AdamW8bit(groups, weight_decay=options.weight_decay)
