"""Register the recognizer with transformers' Auto classes when this module is imported.

import meta_perser.auto
model = AutoModelForAudioClassification.from_pretrained(EXPORTED)   # of `perser export`
"""

from __future__ import annotations

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from meta_perser.modeling_hf import (
    MetaPerSERConfig,
    MetaPerSERFeatureExtractor,
    MetaPerSERForAudioClassification,
)

AutoConfig.register(MetaPerSERConfig.model_type, MetaPerSERConfig, exist_ok=True)

for _auto in (AutoModel, AutoModelForAudioClassification):
    _auto.register(MetaPerSERConfig, MetaPerSERForAudioClassification, exist_ok=True)

AutoFeatureExtractor.register(MetaPerSERConfig, MetaPerSERFeatureExtractor, exist_ok=True)
