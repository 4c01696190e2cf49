from __future__ import annotations

import numpy as np
import pytest
import torch

from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import LslrOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, extra_of
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError

OPTIONS = [
    LslrOptions(),
    LslrOptions(granularity="off"),
    LslrOptions(granularity="module", sign="positive", beyond="mean"),
]


@pytest.mark.parametrize("lslr", OPTIONS, ids=lambda one: one.granularity)
def test_a_saved_model_adapts_as_before(lslr, toy_corpus, toy_episodes, tmp_path):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "head", 8)
    rates = make_rates(list(model.moving_parameters()), 2, 0.3, lslr)
    for one in rates.parameters():
        one.data.add_(torch.rand_like(one))
    trained = MetaPerSER(model, rates, lslr, 2, 4, torch.tensor([0.5, 1.5, 1.0, 1.0]), 0.05)
    trained.save_pretrained(tmp_path / "model", note="kept")
    loaded = MetaPerSER.from_pretrained(tmp_path / "model")
    assert extra_of(tmp_path / "model")["note"] == "kept"
    episode = toy_episodes.episodes[0]
    answers = [
        one.personalizer(ClipSource(toy_corpus.recordings, one.model, tmp_path / "cache"))
        .personalize(episode.support)
        .predict_proba(episode.query_utterances)
        for one in (trained, loaded)
    ]
    np.testing.assert_array_equal(*answers)


def test_a_recognizer_without_rates_is_no_meta_trained_model(trained):
    with pytest.raises(UserError, match="perser meta-train"):
        MetaPerSER.from_pretrained(trained.models / "ssl-e")


def test_the_last_checkpoint_lies_within_the_best(trained):
    folder = trained.models / "meta-perser"
    best, last = (MetaPerSER.from_pretrained(one) for one in (folder, folder / "last"))
    said, last_said = extra_of(folder), extra_of(folder / "last")
    assert said["validation_maf1"] >= last_said["validation_maf1"]
    assert last_said["iteration"] >= said["iteration"]
    own = {"iteration", "validation_maf1"}
    assert all(said[key] == last_said[key] for key in said if key not in own)
    assert best.rates.rows == last.rates.rows
