"""Few shots on real speech with the real Whisper encoder. Skipped unless both lie in ../shared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.few_shot.__main__ import few_shot
from perser.corpora.corpus import write_corpus
from perser.corpora.readers.cremad import read_cremad
from speechlm_icl.model.language_model import LoraOptions
from speechlm_icl.model.speech_lm import new_model
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptOptions

SHARED = Path(__file__).parents[3] / "shared"

CREMAD, WHISPER = SHARED / "data" / "cremad", SHARED / "models" / "whisper-base-encoder"

pytestmark = pytest.mark.skipif(
    not (CREMAD.is_dir() and (WHISPER / "model.safetensors").is_file()),
    reason="needs ../shared/data/cremad and ../shared/models/whisper-base-encoder",
)


def test_classifiers_learn_from_a_few_clips_and_an_untrained_model_does_not(tmp_path):
    listing = read_cremad(CREMAD, listeners="intended")
    chosen = [row for row in listing.utterances if row.speaker in ("1001", "1002", "1003")]
    ids = {row.utterance_id for row in chosen}
    own = [row for row in listing.annotations if row.utterance_id in ids]
    corpus = write_corpus(replace(listing, utterances=chosen, annotations=own), tmp_path / "corpus")
    model = new_model(
        corpus.emotions,
        encoder=str(WHISPER),
        feature_shape=(7, 512),
        language_model="tiny-llama",
        lora=LoraOptions(),
        prompt=PromptOptions(),
        projector=ProjectorOptions(),
    )
    model.save_pretrained(tmp_path / "model")
    few_shot(
        corpus=corpus.folder,
        model=str(tmp_path / "model"),
        json=tmp_path / "few.json",
        shots="5",
        draws=4,
        labels="invented",
        cache=tmp_path / "cache",
        device="cpu",
    )
    rows = json.loads((tmp_path / "few.json").read_text())["shots"]["5"]
    assert rows["meta-perser"] is None
    assert 0.3 < rows["nearest-mean"]["mean"] < 0.7
    assert 0.3 < rows["logistic-regression"]["mean"] < 0.8
    assert 0.05 < rows["speech-lm"]["mean"] < 0.3
