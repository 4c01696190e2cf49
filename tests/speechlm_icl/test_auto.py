import subprocess
import sys

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

import speechlm_icl.auto  # noqa: F401
from speechlm_icl.model.configuration import SpeechLMConfig
from speechlm_icl.model.processing import SpeechLMProcessor
from speechlm_icl.model.speech_lm import SpeechLMForICL


def test_the_auto_classes_load_what_was_saved(build, tmp_path):
    model = build(feature_shape=(4, 64))
    model.save_pretrained(tmp_path)
    SpeechLMProcessor.of(model).save_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    inputs = processor(text="<|audio|> happy", audio=torch.randn(9_000), return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits
        for auto in (AutoModel, AutoModelForCausalLM, AutoModelForMultimodalLM):
            loaded = auto.from_pretrained(tmp_path)
            assert isinstance(loaded, SpeechLMForICL)
            torch.testing.assert_close(loaded(**inputs).logits, expected)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), SpeechLMConfig)


def test_importing_the_package_alone_loads_no_torch():
    """`perser --help` answers at once."""
    code = "import sys, speechlm_icl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
