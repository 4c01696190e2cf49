"""Tiny audio classifiers of transformers with random weights, in folders as they are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForAudioClassification, WhisperFeatureExtractor

from perser.encoders.families import FAMILIES
from perser.encoders.loading import quiet_transformers

LABELS = ("neu", "HAPPY", "Anger", "sad")
"""Neutral, happy, angry and sad, as others spell them."""


def save_classifier(
    kind: str, folder: Path, labels: Sequence[str] = LABELS, rate: int = 16_000, **settings: Any
) -> Path:
    """Save a classifier of a family, by its `model_type`, and its feature extractor; return the folder.

    All weights are random, also those that transformers starts at 0 or 1, and so large that different clips
    get clearly different logits. With small ones, a clip that is read wrongly would not show.
    """
    family = FAMILIES[kind]
    size = {"num_labels": len(labels), "classifier_proj_size": 24}
    config = family.config_class(**{**family.tiny_config, **size, **settings})
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        model = AutoModelForAudioClassification.from_config(config)
        for parameter in model.parameters():
            if parameter.dim() == 1 or not parameter.any():
                torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.3)
            else:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        model.save_pretrained(folder)
        extractor = family.default_extractor(config)
        if kind == "whisper":  # what it pads to is as long as its positions
            extractor = WhisperFeatureExtractor(chunk_length=config.max_source_positions // 50)
        extractor.sampling_rate = rate
        extractor.save_pretrained(folder)
    return folder
