"""What `ClipSource` reads and computes for each scope, frame windows, and the standardization."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from meta_perser.recognizer import batches
from meta_perser.recognizer.batches import ClipSource, standardize
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder, window_means
from perser.errors import UserError


def recognizer(corpus, scope, frame_window):
    """Return a recognizer whose layer 2 and above may read windows; tiny-whisper has 3 layers."""
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    return EmotionRecognizer(encoder, corpus.emotions, scope, 8, kept_layers=2, frame_window=frame_window)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_windows_are_means_of_consecutive_frames(size):
    frames = torch.randn(7, 4)
    expected = [frames[first : first + size].mean(dim=0) for first in range(0, 7, size)]
    torch.testing.assert_close(window_means(frames, size), torch.stack(expected))


@pytest.mark.parametrize("scope", ["top_layers:1", "lora:2:1"])
def test_a_window_shortens_only_what_the_moving_layers_read(toy_corpus, tmp_path, scope):
    chosen = toy_corpus.recordings.utterance_ids[:3]
    all_frames, windows = (
        ClipSource(toy_corpus.recordings, recognizer(toy_corpus, scope, window), tmp_path).batch(chosen)
        for window in (1, 4)
    )
    torch.testing.assert_close(all_frames.lower, windows.lower)
    assert [-(-length // 4) for length in lengths(all_frames)] == lengths(windows)


def test_layers_that_are_not_on_disk_are_run_in_memory(toy_corpus, tmp_path):
    chosen = toy_corpus.recordings.utterance_ids[:5]
    model = recognizer(toy_corpus, "head", frame_window=1)
    batch = ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)
    model.kept_layers = None
    expected = ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)
    assert not batch.buckets
    torch.testing.assert_close(batch.lower, expected.lower, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 4])
def test_logits_are_the_same_in_every_scope(toy_corpus, tmp_path, window):
    chosen = toy_corpus.recordings.utterance_ids[:5]
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    model = EmotionRecognizer(encoder, toy_corpus.emotions, "top_layers:2", 8, 1, window)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter += 0.05 * torch.randn_like(parameter)
    logits = []
    for scope in ("top_layers:2", "top_layers:1", "lora:2:1", "head", "linears"):
        model.set_scope(scope)
        with torch.no_grad():
            logits.append(model(ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)))
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], atol=1e-5, rtol=1e-5)
    assert {folder.name.rsplit("-", 1)[0] for folder in tmp_path.iterdir()} == {"pooled-1", "layer-1"}


@pytest.mark.parametrize("scope", ["all", "top_layers:2", "lora:2"])
def test_layers_below_the_windows_cannot_move(toy_corpus, scope):
    model = recognizer(toy_corpus, "head", frame_window=2)
    with pytest.raises(UserError, match="frame_window"):
        model.set_scope(scope)
    model.kept_layers = 0  # the windows enter at the first layer; the front-end's frames are not averaged
    with nullcontext() if scope != "all" else pytest.raises(UserError, match="frame_window"):
        model.set_scope(scope)


def test_the_window_is_saved_and_is_part_of_the_fingerprint(toy_corpus, tmp_path):
    model = recognizer(toy_corpus, "top_layers:1", frame_window=3)
    model.save_pretrained(tmp_path)
    loaded = EmotionRecognizer.from_pretrained(tmp_path)
    assert loaded.frame_window == 3
    assert loaded.fingerprint() == model.fingerprint()
    assert model.fingerprint() != recognizer(toy_corpus, "top_layers:1", frame_window=1).fingerprint()


def lengths(batch):
    """Return the number of frames of every clip, in the batch's order."""
    by_position = {}
    for bucket in batch.buckets:
        counts = (
            bucket.mask.sum(dim=1)
            if bucket.mask is not None
            else torch.full((len(bucket.positions),), bucket.frames.shape[1])
        )
        by_position |= dict(zip(bucket.positions.tolist(), counts.tolist(), strict=True))
    return [by_position[position] for position in sorted(by_position)]


@pytest.mark.parametrize("scope", ["head", "lora:2:1", "all"])
def test_a_stacked_batch_holds_the_batch_of_each_person(toy_corpus, tmp_path, scope):
    window = 2 if scope in ("top_layers:1", "lora:2:1") else 1
    source = ClipSource(toy_corpus.recordings, recognizer(toy_corpus, scope, window), tmp_path)
    ids = toy_corpus.recordings.utterance_ids
    persons = [sorted(ids[first : first + 4], key=source.num_frames) for first in (0, 4, 8)]
    stacked = source.stacked_batch(persons)
    for person, utterances in enumerate(persons):
        alone = source.batch(utterances)
        assert torch.equal(stacked.lower[person], alone.lower)
        frames = {
            position.item(): bucket.frames[row][... if bucket.mask is None else bucket.mask[row]]
            for bucket in alone.buckets
            for row, position in enumerate(bucket.positions)
        }
        assert [len(frames[position]) if frames else 0 for position in range(4)] == [
            source.num_frames(name) for name in utterances
        ]
        for bucket in stacked.buckets:
            for row, position in enumerate(bucket.positions):
                real = bucket.mask[person, row]
                assert torch.equal(bucket.frames[person, row][real], frames[position.item()])


def test_the_standardization_is_fitted_to_evenly_spaced_utterances_of_many(monkeypatch):
    requested = []

    class Source:
        def __init__(self, recordings: object, model: object, cache: object, adjust: object) -> None: ...

        def batch(self, utterances: list[str]) -> SimpleNamespace:
            requested.append(utterances)
            return SimpleNamespace(lower=None)

    model = SimpleNamespace(scope="all", set_scope=lambda scope: None, standardize=lambda states: None)
    monkeypatch.setattr(batches, "ClipSource", Source)
    monkeypatch.setattr(batches, "STANDARDIZATION_UTTERANCES", 3)
    for count in (3, 7):
        standardize(model, [f"u{number}" for number in range(count)], None, None)
    assert requested == [["u0", "u1", "u2"], ["u0", "u3", "u6"]]
