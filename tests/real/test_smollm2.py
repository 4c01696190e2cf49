"""The real SmolLM2-135M(-Instruct). Skipped unless PERSER_SMOLLM2 names its transformers folder."""

import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from perser.labels import EmotionSet
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import SpeechLMForICL, new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions
from speechlm_icl.scoring.scoring import label_log_probabilities

FOLDER = os.environ.get("PERSER_SMOLLM2", "")
pytestmark = pytest.mark.skipif(
    not (FOLDER and Path(FOLDER, "config.json").is_file()),
    reason="set PERSER_SMOLLM2 to a transformers folder of SmolLM2-135M",
)
EMOTIONS = EmotionSet(("angry", "disgusted", "happy", "neutral", "sad"))
ANSWERS = [[0], [1, 2], [3], [4]]


@pytest.fixture(scope="module")
def model() -> SpeechLMForICL:
    torch.manual_seed(0)
    return new_model(
        EMOTIONS,
        encoder="tiny-whisper",
        feature_shape=(3, 8),
        language_model=FOLDER,
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(width=16),
    ).eval()


def test_cached_scores_equal_full_forward_passes(model):
    """`disgusted` takes two tokens, each of the others takes one."""
    assert sorted(map(len, model.prompt.labels)) == [1, 1, 1, 1, 2]
    features = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0))
    scores = label_log_probabilities(model, features[:4], ANSWERS, features[4:])
    for query in range(2):
        for emotion, label in enumerate(model.prompt.labels):
            clips = torch.cat([features[:4], features[4 + query : 5 + query]])
            batch = model.batch([model.prompt.encode([*ANSWERS, [emotion]])], clips)
            with torch.no_grad():
                logits = model.language_model.causal(inputs_embeds=model.embed(batch, clips)).logits[0]
            template = model.prompt.template
            first = len(logits) - len(label) - len(template.end + template.following)
            rows = logits[first - 1 : first - 1 + len(label)].log_softmax(dim=-1)
            expected = rows[torch.arange(len(label)), list(label)].sum()
            assert_close(scores[query, emotion], expected, atol=1e-3, rtol=1e-4)


def test_a_few_adapter_steps_lower_the_loss_and_survive_saving(model, tmp_path):
    features = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(1))
    batch = model.batch([model.prompt.encode(ANSWERS)], features)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    losses = []
    for _ in range(8):
        loss = model.losses(batch, features).sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]

    model.save_pretrained(tmp_path / "speech-lm")
    loaded = SpeechLMForICL.from_pretrained(tmp_path / "speech-lm")
    assert sum(file.stat().st_size for file in (tmp_path / "speech-lm").rglob("*")) < 20e6
    with torch.no_grad():
        assert_close(loaded.losses(batch, features), model.losses(batch, features), atol=1e-4, rtol=1e-4)
