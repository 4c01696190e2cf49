"""The meta-trained model as a folder: it adapts after loading as it did before saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from meta_perser.adaptation.lslr import make_rates
from meta_perser.adaptation.meta_trained import MetaPerSER
from meta_perser.options import LslrOptions
from meta_perser.recognizer.batches import ClipSource
from meta_perser.recognizer.model import EmotionRecognizer, saved_settings
from perser.encoders.encoder import SpeechEncoder
from perser.errors import UserError

OPTIONS = [
    LslrOptions(),
    LslrOptions(granularity="off"),
    LslrOptions(granularity="module", sign="positive", beyond="mean"),
    LslrOptions(beyond="last", relative=False),
    LslrOptions(granularity="schedule"),
]


@pytest.mark.parametrize("lslr", OPTIONS, ids=lambda lslr: lslr.granularity)
def test_a_loaded_model_adapts_as_the_saved_one(lslr, toy_corpus, toy_episodes, tmp_path):
    torch.manual_seed(0)
    model = EmotionRecognizer(SpeechEncoder.from_name("tiny-whisper"), toy_corpus.emotions, "head", 8)
    rates = make_rates(list(model.trainable_parameters()), 4, 0.3, lslr)
    for parameter in rates.parameters():
        parameter.data.add_(torch.rand_like(parameter))
    steps = 4 if lslr.is_schedule else 6
    trained = MetaPerSER(model, rates, lslr, 4, steps, torch.tensor([0.5, 1.5, 1.0, 1.0]), 0.05)
    trained.save_pretrained(tmp_path / "model", note="kept")
    loaded = MetaPerSER.from_pretrained(tmp_path / "model")
    assert saved_settings(tmp_path / "model")["note"] == "kept"
    episode = toy_episodes.episodes[0]
    probabilities = [
        each.personalizer(ClipSource(toy_corpus.recordings, each.model, tmp_path / "cache"))
        .personalize(episode.support)
        .predict_proba(episode.query_utterances)
        for each in (trained, loaded)
    ]
    np.testing.assert_array_equal(*probabilities)


def test_a_recognizer_without_rates_is_refused(trained):
    with pytest.raises(UserError, match="perser meta-train"):
        MetaPerSER.from_pretrained(trained.models / "ssl-e")


def test_the_last_checkpoint_lies_within_the_best(trained):
    folder = trained.models / "meta-perser"
    best, last = (MetaPerSER.from_pretrained(path) for path in (folder, folder / "last"))
    best_extra, last_extra = saved_settings(folder), saved_settings(folder / "last")
    assert best_extra["validation_log_loss"] <= last_extra["validation_log_loss"]
    assert last_extra["iteration"] >= best_extra["iteration"]
    own = {"iteration", "validation_log_loss", "validation_maf1", "validations"}
    assert all(best_extra[key] == last_extra[key] for key in best_extra if key not in own)
    assert best.rates.layers == last.rates.layers
