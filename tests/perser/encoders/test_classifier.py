"""Every audio classifier of transformers in parts gives the logits of transformers' own pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForCTC, Wav2Vec2Model, pipeline
from transformers import logging as transformers_logging

from perser.encoders.classifier import AudioClassifier, check_classifier, load_classifier
from perser.encoders.families import FAMILIES
from perser.encoders.loading import quiet_transformers
from perser.errors import UserError
from perser.io.model_facts import SPEECH_TYPES
from tests.perser.published_classifiers import LABELS, save_classifier

SECONDS = (0.93, 1.27, 2.011, 0.4213)
WEIGHTED = {"use_weighted_layer_sum": True}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
CASES = [
    *((kind, settings) for kind in FAMILIES for settings in ({}, WEIGHTED)),
    *(
        (kind, STABLE | settings)
        for kind in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")
        for settings in ({}, WEIGHTED)
    ),
    ("hubert", {"conv_pos_batch_norm": True}),
    ("wav2vec2-bert", {"position_embeddings_type": "relative"}),
    ("wav2vec2-bert", {"position_embeddings_type": "rotary"}),
]


def clips(rate: int = 16_000) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(int(rate * seconds))).astype(np.float32) for seconds in SECONDS]


def logits(classifier: AudioClassifier, clip: np.ndarray) -> torch.Tensor:
    encoder, head = classifier.encoder, classifier.head
    with torch.no_grad():
        frames = torch.stack(encoder.frontend([torch.from_numpy(clip)]))
        states = torch.stack([encoder.pool(state, None) for state in encoder.hidden_states(frames, None)])
        summed = torch.einsum("l,lbd->d", head.layer_logits.softmax(0), states)
        projected = head.projector[0] @ summed + head.projector[1]
        return head.classifier[0] @ projected + head.classifier[1]


def pipeline_logits(folder: Path, samples: list[np.ndarray], rate: int = 16_000) -> list[torch.Tensor]:
    transformers_logging.set_verbosity_error()
    classify = pipeline("audio-classification", model=str(folder), device="cpu")
    names = [classify.model.config.id2label[number] for number in range(len(LABELS))]
    answers = []
    for clip in samples:
        scores = classify({"raw": clip, "sampling_rate": rate}, top_k=None, function_to_apply="none")
        by_name = {score["label"]: score["score"] for score in scores}
        answers.append(torch.tensor([by_name[name] for name in names]))
    return answers


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_logits_are_those_of_the_pipeline(tmp_path, kind, settings):
    save_classifier(kind, tmp_path, **settings)
    classifier = load_classifier(str(tmp_path))
    assert classifier.labels == ("neutral", "happy", "angry", "sad")
    expected = torch.stack(pipeline_logits(tmp_path, clips()))
    assert (expected.amax(0) - expected.amin(0)).max() > 0.01  # what is heard in a clip counts
    for clip, of_clip in zip(clips(), expected, strict=True):
        torch.testing.assert_close(logits(classifier, clip), of_clip, atol=1e-5, rtol=1e-5)


def test_whisper_reads_the_first_30_seconds_as_transformers_does(tmp_path):
    save_classifier("whisper", tmp_path)
    clip = (0.1 * np.random.default_rng(0).standard_normal(31 * 16_000)).astype(np.float32)
    (expected,) = pipeline_logits(tmp_path, [clip])
    torch.testing.assert_close(logits(load_classifier(str(tmp_path)), clip), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["wav2vec2", "audio-spectrogram-transformer", "wav2vec2-bert"])
def test_its_own_sampling_rate_is_used(tmp_path, kind):
    """A model for 8 kHz gets the clip at 8 kHz, as from the pipeline that is told that it is at 16 kHz."""
    save_classifier(kind, tmp_path, rate=8_000)
    classifier = load_classifier(str(tmp_path))
    for clip, expected in zip(clips(), pipeline_logits(tmp_path, clips()), strict=True):
        torch.testing.assert_close(logits(classifier, clip), expected, atol=1e-5, rtol=1e-5)
        (frames,) = classifier.encoder.frontend([torch.from_numpy(clip)])
        assert classifier.encoder.frame_count(len(clip)) == len(frames)


def test_the_types_that_are_known_without_torch_are_all():
    assert set(SPEECH_TYPES) == set(FAMILIES)


def changed(folder: Path, **settings) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
            "has labels without a name (LABEL_0, LABEL_1): ",
        ),
        ({"id2label": {"0": None, "1": "sad", "2": "happy"}}, "has labels without a name (''): name them by"),
        ({"id2label": {"0": "down", "1": "up"}}, "are no emotions (down, up): name them by emotions in its"),
        ({"id2label": {"0": "joy", "1": "happy", "2": "sad"}}, "the labels joy and happy are both happy"),
        ({"id2label": "angry"}, "the config.json of"),
        ({"problem_type": "regression"}, "does not choose one of several emotions (regression)"),
        ({"problem_type": "multi_label_classification"}, "(multi label classification): give a classifier"),
        ({"architectures": ["Wav2Vec2ForCTC"]}, "is made for another task (Wav2Vec2ForCTC, not Wav2Vec2ForS"),
        ({"architectures": None}, "is made for another task (nothing that it names, not"),
        ({"model_type": "bert"}, "is a model of type 'bert', not a supported audio classifier"),
        ({"model_type": ["wav2vec2"]}, "not a supported audio classifier"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_by_its_configuration(tmp_path, settings, said):
    changed(save_classifier("wav2vec2", tmp_path), **settings)
    (tmp_path / "model.safetensors").unlink()
    for refuse in (check_classifier, load_classifier):
        with pytest.raises(UserError) as error:
            refuse(str(tmp_path))
        assert said in str(error.value)


def test_weights_of_another_task_are_refused(tmp_path):
    save_classifier("wav2vec2", tmp_path)
    config = FAMILIES["wav2vec2"].config_class(**FAMILIES["wav2vec2"].tiny_config)
    text = (tmp_path / "config.json").read_text()
    for other in (Wav2Vec2ForCTC, Wav2Vec2Model):
        with quiet_transformers():
            other(config).save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"lack 4 tensors, such as classifier\.bias: it was not"):
            load_classifier(str(tmp_path))


def test_more_labels_than_the_weights_have_are_refused(tmp_path):
    names = ("neutral", "happy", "angry", "sad", "fear")
    changed(save_classifier("wav2vec2", tmp_path), id2label=dict(enumerate(names)))
    with pytest.raises(UserError, match=r"its weights have other shapes than its config\.json says"):
        load_classifier(str(tmp_path))


def test_pickles_alone_and_no_weights_are_refused(tmp_path):
    save_classifier("wav2vec2", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="as pickles alone"):
        load_classifier(str(tmp_path))
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="has no weights"):
        load_classifier(str(tmp_path))


def test_a_higher_sampling_rate_is_refused(tmp_path):
    save_classifier("wav2vec2", tmp_path, rate=44_100)
    with pytest.raises(UserError, match="wants audio at 44100 Hz, but recordings are read at 16000 Hz"):
        load_classifier(str(tmp_path))


@pytest.mark.parametrize("rate", [0, -16_000, 50, 16_000.5, "16 kHz", None])
def test_a_sampling_rate_that_is_none_is_refused(tmp_path, rate):
    save_classifier("wav2vec2", tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sampling_rate": rate}))
    with pytest.raises(UserError, match=r"which is no rate for speech: correct sampling_rate there$"):
        load_classifier(str(tmp_path))
