"""Register the speech language model with transformers' Auto classes when this module is imported.

import speechlm_icl.auto
model = AutoModelForMultimodalLM.from_pretrained("runs/quickstart/models/speech-lm")
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL

AutoConfig.register(SpeechLMConfig.model_type, SpeechLMConfig, exist_ok=True)

for _auto in (AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM):
    _auto.register(SpeechLMConfig, SpeechLMForICL, exist_ok=True)

AutoProcessor.register(SpeechLMConfig, SpeechLMProcessor, exist_ok=True)
