"""The optimizer of meta-training: AdamW, with a rate for the projector and one for the language model."""

from __future__ import annotations

import torch

from perser.errors import require_package
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.training.options import IclTraining


def check_optimizer(options: IclTraining) -> None:
    """Raises UserError where the optimizer's library is not installed."""
    if options.optimizer == "adamw8bit":
        require_package("bitsandbytes", "quantized", "optimizer: adamw8bit")


def new_optimizer(model: SpeechLMForICL, options: IclTraining) -> torch.optim.Optimizer:
    """AdamW over what is trained of the model; tensors of fewer than 4,096 numbers keep their moments in
    float32 with 8 bits too."""
    language = [one for one in model.language_model.parameters() if one.requires_grad]
    own = {id(one) for one in language}
    projector = [one for one in model.parameters() if one.requires_grad and id(one) not in own]
    rate = options.language_learning_rate
    groups = [
        {"params": projector, "lr": options.learning_rate},
        {"params": language, "lr": options.learning_rate if rate is None else rate},
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    from bitsandbytes.optim import AdamW8bit  # slow to import, and it writes a warning

    return AdamW8bit(groups, weight_decay=options.weight_decay)
