"""What the feature cache holds, when it is used again, and that incomplete stores are never read."""

from __future__ import annotations

import copy
import json
import multiprocessing
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from perser.encoders import feature_cache, parallel_build
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import FeatureStore, cached_features, encode_clips
from perser.errors import UserError

LEVELS = (
    "frontend",
    "pooled",
    "pooled:0",
    "pooled:2",
    "layer:0",
    "layer:1",
    "layer:3",
    "windows:1",
    "windows:4",
)


class FakeRecordings:
    """Noise of different lengths, in memory. Counts how often recordings are read."""

    def __init__(self, fingerprint="audio", seconds=(0.5, 0.2, 0.9, 0.2, 0.33)):
        self.fingerprint = fingerprint
        self._clips = {}
        generator = torch.Generator().manual_seed(0)
        for number, length in enumerate(seconds):
            self._clips[f"clip{number}"] = 0.1 * torch.randn(int(16_000 * length), generator=generator)
        self.utterance_ids = list(self._clips)
        self.reads = 0

    def duration(self, utterance_id):
        return len(self._clips[utterance_id]) / 16_000

    def waveform(self, utterance_id):
        self.reads += 1
        return self._clips[utterance_id]


@pytest.fixture(scope="module", params=["tiny-wav2vec2", "tiny-whisper"])
def encoder(request):
    return SpeechEncoder.from_name(request.param)


def expected(encoder, waveform, level):
    with torch.no_grad():
        frames = encoder.frontend([waveform])[0]
        if level == "frontend":
            return frames
        states = encoder.hidden_states(frames[None], None)
        kind, _, number = level.partition(":")
        if kind == "pooled":
            return torch.stack(
                [state[0].mean(dim=0) for state in states[: int(number or encoder.num_layers) + 1]]
            )
        if kind == "windows":
            every, size = torch.stack([state[0] for state in states], dim=1), int(number)
            return torch.stack([every[at : at + size].mean(dim=0) for at in range(0, len(every), size)])
        return states[int(level.removeprefix("layer:"))][0]


@pytest.mark.parametrize("level", LEVELS)
def test_the_store_holds_what_the_encoder_gives_each_clip_alone(encoder, level, tmp_path):
    recordings = FakeRecordings()
    store = cached_features(recordings, encoder, level, tmp_path)
    assert len(store) == 5
    assert "clip0" in store
    assert "other" not in store
    for utterance_id in recordings.utterance_ids:
        features = store[utterance_id]
        assert features.dtype == torch.float32
        reference = expected(encoder, recordings.waveform(utterance_id), level)
        torch.testing.assert_close(features, reference, atol=1e-4, rtol=1e-4)
    with pytest.raises(KeyError):
        store["other"]


def test_pooled_features_are_stacked(encoder, tmp_path):
    recordings = FakeRecordings()
    store = cached_features(recordings, encoder, "pooled", tmp_path)
    stacked = store.stack(["clip3", "clip0", "clip3"])
    assert stacked.shape == (3, encoder.num_layers + 1, encoder.hidden_size)
    assert torch.equal(stacked[0], stacked[2])
    assert torch.equal(stacked[1], store["clip0"])
    assert store.num_rows("clip0") == len(store["clip0"]) == encoder.num_layers + 1
    with pytest.raises(ValueError, match="pad"):
        cached_features(recordings, encoder, "frontend", tmp_path).stack(["clip0"])


@pytest.mark.parametrize("level", LEVELS)
def test_encoding_clips_without_a_store_gives_the_same_features(encoder, level, tmp_path):
    recordings = FakeRecordings()
    store = cached_features(recordings, encoder, level, tmp_path)
    clips = [recordings.waveform(name) for name in recordings.utterance_ids]
    for name, features in zip(recordings.utterance_ids, encode_clips(encoder, clips, level), strict=True):
        torch.testing.assert_close(features, store[name], atol=1e-4, rtol=1e-4)


def test_writing_to_features_does_not_change_the_store(encoder, tmp_path):
    store = cached_features(FakeRecordings(), encoder, "pooled", tmp_path)
    before = store["clip0"].clone()
    store["clip0"].zero_()
    assert torch.equal(store["clip0"], before)


def test_a_second_call_computes_nothing(encoder, tmp_path):
    recordings = FakeRecordings()
    first = cached_features(recordings, encoder, "pooled", tmp_path)
    reads = recordings.reads
    second = cached_features(recordings, encoder, "pooled", tmp_path)
    assert recordings.reads == reads == 5
    assert torch.equal(first["clip2"], second["clip2"])


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "frontend"])
def test_every_level_is_computed_from_the_front_end_s_frames_where_the_cache_has_them(
    encoder, level, tmp_path
):
    recordings = FakeRecordings()
    from_audio = cached_features(recordings, encoder, level, tmp_path / "audio")
    cached_features(recordings, encoder, "frontend", tmp_path / "frames")
    reads = recordings.reads
    from_frames = cached_features(recordings, encoder, level, tmp_path / "frames")
    assert recordings.reads == reads
    assert all(torch.equal(from_frames[name], from_audio[name]) for name in recordings.utterance_ids)


def test_a_changed_trunk_shares_the_front_end_only(tmp_path):
    encoder, recordings = SpeechEncoder.from_name("tiny-hubert"), FakeRecordings()
    before = {
        level: cached_features(recordings, encoder, level, tmp_path) for level in ("frontend", "pooled")
    }
    with torch.no_grad():
        for parameter in encoder.trunk_parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    reads = recordings.reads
    assert torch.equal(
        cached_features(recordings, encoder, "frontend", tmp_path)["clip0"], before["frontend"]["clip0"]
    )
    assert recordings.reads == reads
    changed = cached_features(recordings, encoder, "pooled", tmp_path)["clip0"]
    reference = expected(encoder, recordings.waveform("clip0"), "pooled")
    torch.testing.assert_close(changed, reference, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(changed, before["pooled"]["clip0"], atol=1e-3)


@pytest.mark.parametrize("level", ["layer:2", "pooled:2"])
def test_what_lies_below_a_changed_layer_is_shared(encoder, level, tmp_path):
    encoder, recordings = copy.deepcopy(encoder), FakeRecordings()
    before = cached_features(recordings, encoder, level, tmp_path)["clip0"]
    reads = recordings.reads
    with torch.no_grad():
        for parameter in encoder.trunk_parameters(start=2):
            parameter += 0.05 * torch.randn_like(parameter)
    assert torch.equal(cached_features(recordings, encoder, level, tmp_path)["clip0"], before)
    assert recordings.reads == reads
    with torch.no_grad():
        for parameter in encoder.trunk_parameters(start=1):
            parameter += 0.05 * torch.randn_like(parameter)
    assert not torch.allclose(cached_features(recordings, encoder, level, tmp_path)["clip0"], before)


def test_other_recordings_and_other_seeds_have_their_own_store(tmp_path):
    for fingerprint in ("a", "b"):
        for seed in (0, 1):
            encoder = SpeechEncoder.from_name("tiny-hubert", seed=seed)
            cached_features(FakeRecordings(fingerprint), encoder, "frontend", tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_attention_implementation_shares_the_store(encoder, tmp_path):
    cached_features(FakeRecordings(), encoder, "pooled", tmp_path)
    encoder.set_attention("sdpa")
    cached_features(FakeRecordings(), encoder, "pooled", tmp_path)
    encoder.set_attention("eager")
    assert len(list(tmp_path.iterdir())) == 1


class Interrupted(FakeRecordings):
    def waveform(self, utterance_id):
        if utterance_id == "clip1":  # among the shortest, so in the last batch to be decoded
            raise KeyboardInterrupt
        return super().waveform(utterance_id)


def test_an_interrupted_run_leaves_nothing(encoder, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cached_features(Interrupted(), encoder, "pooled", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(cached_features(FakeRecordings(), encoder, "pooled", tmp_path)) == 5


def test_non_finite_features_name_the_utterance(tmp_path):
    encoder = SpeechEncoder.from_name("tiny-whisper")
    recordings = FakeRecordings()
    recordings._clips["clip4"][7] = float("nan")
    with pytest.raises(UserError, match="non-finite values for 'clip4'"):
        cached_features(recordings, encoder, "frontend", tmp_path)
    assert list(tmp_path.iterdir()) == []


def _cache_in_another_process(folder, barrier):
    torch.set_num_threads(1)
    encoder = SpeechEncoder.from_name("tiny-wav2vec2")
    barrier.wait()
    store = cached_features(FakeRecordings(), encoder, "pooled", Path(folder))
    assert store["clip0"].isfinite().all()


def test_two_processes_can_build_the_same_store_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=_cache_in_another_process, args=(str(tmp_path), barrier)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    (folder,) = tmp_path.iterdir()
    assert len(FeatureStore.open(folder)) == 5


@pytest.mark.parametrize("count", [2, 7])
def test_processes_divide_the_utterances(count, encoder, tmp_path, monkeypatch):
    """Here one process after the other, beginning with the last shard. Of seven shards, some are empty."""
    monkeypatch.setattr(feature_cache, "_CPU_BATCH_SECONDS", 0.5)  # several batches
    alone = cached_features(FakeRecordings(), encoder, "layer:2", tmp_path / "alone")
    recordings = FakeRecordings()
    launched = SimpleNamespace(process_index=count - 1, num_processes=count)
    monkeypatch.setattr(parallel_build, "processes", lambda: launched)
    shared = cached_features(recordings, encoder, "layer:2", tmp_path / "shared")
    assert recordings.reads == len(shared) == 5
    for name in recordings.utterance_ids:
        torch.testing.assert_close(shared[name], alone[name], rtol=0, atol=0)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [
        path.name for path in (tmp_path / "alone").iterdir()
    ]


def test_a_store_that_another_process_made_first_is_used(encoder, tmp_path):
    recordings = FakeRecordings()

    cached_features(recordings, encoder, "pooled", tmp_path / "theirs")

    class Raced(FakeRecordings):
        def duration(self, utterance_id):  # asked for after the cache was found empty
            shutil.copytree(tmp_path / "theirs", tmp_path / "ours", dirs_exist_ok=True)
            return super().duration(utterance_id)

    store = cached_features(Raced(), encoder, "pooled", tmp_path / "ours")
    assert len(store) == 5
    assert len(list((tmp_path / "ours").iterdir())) == 1


@pytest.mark.parametrize(
    "level",
    ["layer:4", "layer:", "layer:-1", "layer", "mean", "pooled:4", "pooled:", "windows:0", "windows"],
)
def test_an_unknown_level_is_refused(encoder, level, tmp_path):
    with pytest.raises(UserError, match="layer:N with N from 0 to 3"):
        cached_features(FakeRecordings(), encoder, level, tmp_path)


def test_a_damaged_store_is_refused(encoder, tmp_path):
    cached_features(FakeRecordings(), encoder, "frontend", tmp_path)
    (file,) = tmp_path.glob("*/features.npy")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="delete it"):
        cached_features(FakeRecordings(), encoder, "frontend", tmp_path)


def test_damaged_features_are_refused_at_every_read(encoder, tmp_path):
    store = cached_features(FakeRecordings(), encoder, "frontend", tmp_path)
    (file,) = tmp_path.glob("*/features.npy")
    content = bytearray(file.read_bytes())
    content[-4 * encoder.front_size :] = bytes(4 * encoder.front_size)
    file.write_bytes(content)
    damaged = list(store._spans)[-1]
    store = cached_features(FakeRecordings(), encoder, "frontend", tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="is damaged"):
            store[damaged]


def test_the_files_are_plain_npy_and_json(encoder, tmp_path):
    cached_features(FakeRecordings(), encoder, "layer:2", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("layer-2-")
    rows = np.load(folder / "features.npy")
    spans = json.loads((folder / "index.json").read_text())["spans"]
    assert rows.dtype == np.float32
    assert len(rows) == sum(count for _, _, count in spans)


def test_features_do_not_depend_on_the_size_of_batches(encoder, tmp_path, monkeypatch):
    recordings = FakeRecordings()
    whole = cached_features(recordings, encoder, "layer:3", tmp_path / "whole")
    monkeypatch.setattr(feature_cache, "_CPU_BATCH_SECONDS", 0.5)
    single = cached_features(recordings, encoder, "layer:3", tmp_path / "single")
    for utterance_id in recordings.utterance_ids:
        torch.testing.assert_close(single[utterance_id], whole[utterance_id], atol=1e-4, rtol=1e-4)
