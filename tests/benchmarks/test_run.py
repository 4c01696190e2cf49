"""`perser bench` finds what it cannot measure before it measures anything."""

from __future__ import annotations

import json

import pytest

from benchmarks.run import bench
from meta_perser.recognizer.model import _FIELDS
from perser.errors import UserError


@pytest.fixture
def options(toy_corpus, toy_episodes_path, tmp_path):
    """A comparison whose folder of models has SSL-E, as far as its settings tell."""
    return {
        "corpus": toy_corpus.folder,
        "episodes": toy_episodes_path,
        "models": tmp_path / "models",
        "out": tmp_path / "out",
        "cache": tmp_path / "cache",
        "limit": 1,
    }


@pytest.fixture
def save_settings(toy_episodes, options):
    """A function that writes the settings of a model, without weights."""

    def save(name, **changes):
        settings = {"trained_on": toy_episodes.training_digest, "fine_tune": {}} | changes
        config = dict.fromkeys(_FIELDS) | {
            "emotions": ["angry", "happy", "neutral", "sad"],
            "extra": settings,
        }
        folder = options["models"] / name
        folder.mkdir(parents=True)
        (folder / "meta_perser.json").write_text(json.dumps(config))

    return save


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (("random", "metaperser"), r"unknown method 'metaperser'.*did you mean 'meta-perser'"),
        (("random", "linear-few"), r"no trained model in .*linear \(for linear-few\).*--methods random$"),
        (
            ("random", "meta-perser:a", "speech-lm-8"),
            r"meta-perser-a \(for .*; .*speech-lm \(for speech-lm-8\)",
        ),
        (("random", "entire-few-8"), "entire-few reads the whole support"),
        (("random", "nothing:small"), "nothing has no model, and so no ablations"),
        (("random", "speech-lm-99"), "reads 99 enrollment pairs"),
        (("random", "speech-lm+order=4"), "order"),
        (("random", "lora-few"), "no rate was chosen for LoRA-Few"),
        (("linear-few",), "give another --models"),
    ],
)
def test_a_method_that_cannot_be_measured_is_found_before_anything_is(
    methods, message, options, save_settings
):
    save_settings("ssl-e")
    with pytest.raises(UserError, match=message):
        bench(**options, methods=[*methods])
    assert not options["out"].exists()


def test_a_model_of_another_split_or_with_other_emotions_is_found_before_anything_is(options, save_settings):
    save_settings("ssl-e", trained_on="another")
    with pytest.raises(UserError, match="trained on another split"):
        bench(**options, methods=["random", "entire-few"])
    assert not options["out"].exists()
