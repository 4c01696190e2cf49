from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from meta_perser.recognizer.batches import ClipSource, standardize
from meta_perser.recognizer.model import EmotionRecognizer
from perser.encoders.encoder import SpeechEncoder, window_means
from perser.errors import UserError


def recognizer(corpus, scope, frame_window):
    """Layers 2 and above may read windows: tiny-whisper has 3."""
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    return EmotionRecognizer(encoder, corpus.emotions, scope, 8, kept_layers=2, frame_window=frame_window)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_windows_are_means_of_what_follows_one_another(size):
    frames = torch.randn(7, 4)
    expected = [frames[first : first + size].mean(dim=0) for first in range(0, 7, size)]
    torch.testing.assert_close(window_means(frames, size), torch.stack(expected))


@pytest.mark.parametrize("scope", ["top_layers:1", "lora:2:1"])
def test_a_window_shortens_what_the_moving_layers_read_and_nothing_else(toy_corpus, tmp_path, scope):
    chosen = toy_corpus.recordings.utterance_ids[:3]
    every, fourth = (
        ClipSource(toy_corpus.recordings, recognizer(toy_corpus, scope, window), tmp_path).batch(chosen)
        for window in (1, 4)
    )
    torch.testing.assert_close(every.lower, fourth.lower)
    assert [-(-one // 4) for one in lengths(every)] == lengths(fourth)


def test_layers_above_the_kept_ones_are_run_where_the_disk_does_not_have_them(toy_corpus, tmp_path):
    chosen = toy_corpus.recordings.utterance_ids[:5]
    model = recognizer(toy_corpus, "head", frame_window=1)
    found = ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)
    model.kept_layers = None
    expected = ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)
    assert not found.buckets
    torch.testing.assert_close(found.lower, expected.lower, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [1, 4])
def test_every_scope_reads_the_clips_alike(toy_corpus, tmp_path, window):
    chosen = toy_corpus.recordings.utterance_ids[:5]
    torch.manual_seed(0)
    encoder = SpeechEncoder.from_name("tiny-whisper")
    model = EmotionRecognizer(encoder, toy_corpus.emotions, "top_layers:2", 8, 1, window)
    with torch.no_grad():
        for one in model.moving_parameters().values():
            one += 0.05 * torch.randn_like(one)
    logits = []
    for scope in ("top_layers:2", "top_layers:1", "lora:2:1", "head", "linears"):
        model.set_scope(scope)
        with torch.no_grad():
            logits.append(model(ClipSource(toy_corpus.recordings, model, tmp_path).batch(chosen)))
    for one in logits[1:]:
        torch.testing.assert_close(one, logits[0], atol=1e-5, rtol=1e-5)
    assert {folder.name.rsplit("-", 1)[0] for folder in tmp_path.iterdir()} == {"pooled-1", "layer-1"}


@pytest.mark.parametrize("scope", ["all", "top_layers:2", "lora:2"])
def test_layers_below_the_windows_cannot_move(toy_corpus, scope):
    model = recognizer(toy_corpus, "head", frame_window=2)
    with pytest.raises(UserError, match="frame_window"):
        model.set_scope(scope)
    model.kept_layers = 0  # the windows enter at the first layer: the front-end's frames are not theirs
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
    """Frames of every clip, in the batch's order."""
    found = {}
    for bucket in batch.buckets:
        counts = (
            bucket.mask.sum(dim=1)
            if bucket.mask is not None
            else torch.full((len(bucket.places),), bucket.frames.shape[1])
        )
        found |= dict(zip(bucket.places.tolist(), counts.tolist(), strict=True))
    return [found[place] for place in sorted(found)]


@pytest.mark.parametrize("scope", ["head", "lora:2:1", "all"])
def test_persons_alike_have_what_each_has_alone(toy_corpus, tmp_path, scope):
    window = 2 if scope in ("top_layers:1", "lora:2:1") else 1
    source = ClipSource(toy_corpus.recordings, recognizer(toy_corpus, scope, window), tmp_path)
    ids = toy_corpus.recordings.utterance_ids
    persons = [sorted(ids[first : first + 4], key=source.num_frames) for first in (0, 4, 8)]
    together = source.batch_alike(persons)
    for person, utterances in enumerate(persons):
        alone = source.batch(utterances)
        assert torch.equal(together.lower[person], alone.lower)
        frames = {
            place.item(): bucket.frames[row][... if bucket.mask is None else bucket.mask[row]]
            for bucket in alone.buckets
            for row, place in enumerate(bucket.places)
        }
        assert [len(frames[place]) if frames else 0 for place in range(4)] == [
            source.num_frames(one) for one in utterances
        ]
        for bucket in together.buckets:
            for row, place in enumerate(bucket.places):
                real = bucket.mask[person, row]
                assert torch.equal(bucket.frames[person, row][real], frames[place.item()])


def test_of_many_utterances_evenly_spaced_ones_fit_the_standardization(monkeypatch):
    asked = []

    class Source:
        def __init__(self, recordings: object, model: object, cache: object) -> None: ...

        def batch(self, utterances: list[str]) -> SimpleNamespace:
            asked.append(utterances)
            return SimpleNamespace(lower=None)

    model = SimpleNamespace(scope="all", set_scope=lambda scope: None, standardize=lambda states: None)
    monkeypatch.setattr("meta_perser.recognizer.batches.ClipSource", Source)
    monkeypatch.setattr("meta_perser.recognizer.batches.STANDARDIZING", 3)
    for count in (3, 7):
        standardize(model, [f"u{number}" for number in range(count)], None, None)
    assert asked == [["u0", "u1", "u2"], ["u0", "u3", "u6"]]
