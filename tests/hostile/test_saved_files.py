"""A damaged file that a command saved is read right, or refused with an error of one line."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measuring.answer import EpisodeAnswer
from benchmarks.measuring.predictions import Origin, Predictions
from perser.corpora.corpus import Corpus
from perser.corpora.listeners.truth import load_truth
from perser.encoders.encoder import SpeechEncoder
from perser.encoders.feature_cache import FeatureStore, cached_features
from perser.episodes.draw import draw_episode
from perser.episodes.episode_file import EpisodeFile
from perser.errors import UserError
from perser.inference import profile
from perser.inference.profile import Enrolled, Profile

from .corruption import Trap, corrupted, examples, result_or_error, untouched

PROFILE = Profile(
    route="fake",
    model="/models/m",
    fingerprint="abc",
    emotions=("angry", "happy"),
    enrolled=(Enrolled("é.wav", ("angry", "happy")),),
    tensors={"bias": torch.tensor([1.0, 2.0]), "counts": torch.arange(4)},
    audio=(torch.linspace(-1, 1, 50),),
)


def same_profile(first: Profile, second: Profile) -> bool:
    fields = ("route", "model", "fingerprint", "emotions", "enrolled")
    equal = all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    audio = all(map(torch.equal, first.audio, second.audio))
    return equal and audio and all(getattr(first, name) == getattr(second, name) for name in fields)


@examples(150)
@given(data=st.data())
def test_a_corrupted_profile_gives_the_same_profile_or_an_error(tmp_path: Path, data: st.DataObject):
    (tmp_path / "p").unlink(missing_ok=True)  # of the last example
    PROFILE.save(tmp_path / "p")
    (tmp_path / "p").write_bytes(data.draw(corrupted((tmp_path / "p").read_bytes())))
    with untouched(tmp_path):
        loaded = result_or_error(lambda: Profile.load(tmp_path / "p"))
    assert loaded is None or same_profile(loaded, PROFILE)


def test_a_profile_with_values_that_are_not_finite_is_refused(tmp_path: Path):
    replace(PROFILE, tensors={"bias": torch.tensor([1.0, float("nan")])}).save(tmp_path / "p")
    with pytest.raises(UserError, match="not finite"):
        Profile.load(tmp_path / "p")


def test_an_older_profile_survives_a_failed_save(tmp_path: Path, monkeypatch):
    PROFILE.save(tmp_path / "p")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profile, "save_file", full)
    with untouched(tmp_path), pytest.raises(UserError, match="cannot write the profile"):
        replace(PROFILE, route="other").save(tmp_path / "p")


@examples(120)
@given(data=st.data())
def test_a_corrupted_episodes_file_gives_usable_episodes_or_an_error(
    toy_corpus: Corpus, toy_episodes: EpisodeFile, tmp_path: Path, data: st.DataObject
):
    few = replace(toy_episodes, episodes=toy_episodes.episodes[:2], validation_episodes=())
    few.save(tmp_path / "e.json")
    (tmp_path / "e.json").write_bytes(data.draw(corrupted((tmp_path / "e.json").read_bytes())))

    def use() -> None:
        loaded = EpisodeFile.load(tmp_path / "e.json")
        loaded.check_corpus(toy_corpus)
        loaded.tasks(toy_corpus, "test")
        for episode in loaded.episodes:
            toy_corpus.emotions.multi_hot([*episode.support.emotions, *episode.query_emotions])
            assert all(name in toy_corpus.utterances for name in episode.question.utterances)
            np.random.default_rng(episode.support.seed)

    with untouched(tmp_path):
        result_or_error(use)


@examples(60)
@given(data=st.data(), has_checksums=st.booleans())
def test_a_corrupted_prepared_corpus_gives_a_usable_corpus_or_an_error(
    toy_corpus: Corpus, tmp_path: Path, data: st.DataObject, has_checksums: bool
):
    folder = tmp_path / "corpus"
    shutil.copytree(toy_corpus.folder, folder, dirs_exist_ok=True)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    name = data.draw(st.sampled_from(files))
    file = folder / name
    file.write_bytes(data.draw(corrupted(file.read_bytes())))
    if not has_checksums:
        (folder / "checksums.json").unlink()

    def use() -> None:
        loaded = Corpus.load(folder)
        assert {row.utterance_id for row in loaded.annotations} <= set(loaded.utterances)
        loaded.emotions.multi_hot([row.emotions for row in loaded.annotations])
        assert loaded.name is not None
        load_truth(folder, len(loaded.emotions))
        if has_checksums and name.endswith(".arrow"):
            assert loaded.annotations == toy_corpus.annotations
            assert loaded.utterances == toy_corpus.utterances

    with untouched(tmp_path):
        result_or_error(use)


@pytest.fixture(scope="module")
def cache(toy_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[SpeechEncoder, Path]:
    encoder, folder = SpeechEncoder.from_name("tiny-whisper"), tmp_path_factory.mktemp("cache")
    cached_features(toy_corpus.recordings, encoder, "pooled", folder)
    return encoder, folder


@examples(60)
@given(data=st.data())
def test_a_corrupted_feature_cache_gives_the_same_features_or_an_error(
    toy_corpus: Corpus, cache: tuple[SpeechEncoder, Path], tmp_path: Path, data: st.DataObject
):
    encoder, intact = cache
    shutil.copytree(intact, tmp_path / "cache", dirs_exist_ok=True)
    (folder,) = intact.iterdir()
    file = tmp_path / "cache" / folder.name / data.draw(st.sampled_from(("features.npy", "index.json")))
    file.write_bytes(data.draw(corrupted(file.read_bytes())))
    names = toy_corpus.recordings.utterance_ids

    def use() -> torch.Tensor:
        store = cached_features(toy_corpus.recordings, encoder, "pooled", tmp_path / "cache")
        return torch.stack([store[name] for name in names])

    with untouched(tmp_path):
        features = result_or_error(use)
    if features is not None:
        store = FeatureStore.open(folder)
        assert torch.equal(features, torch.stack([store[name] for name in names]))


def test_a_feature_cache_of_pickled_objects_is_not_opened(tmp_path: Path):
    folder = tmp_path / "store"
    folder.mkdir()
    np.save(folder / "features.npy", np.array([[Trap(tmp_path / "mark")]], dtype=object), allow_pickle=True)
    (folder / "index.json").write_text('{"level": "pooled", "spans": []}')
    with untouched(tmp_path), pytest.raises(UserError, match="damaged"):
        FeatureStore.open(folder)
    (folder / "features.npy").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with untouched(tmp_path), pytest.raises(UserError, match="damaged"):
        FeatureStore.open(folder)


@examples(120)
@given(data=st.data())
def test_corrupted_predictions_give_the_same_answers_or_an_error(
    toy_episodes: EpisodeFile, tmp_path: Path, data: st.DataObject
):
    episodes = toy_episodes.episodes[:2]
    rng = np.random.default_rng(0)
    rows = [
        rng.dirichlet(np.ones(4), len(episode.query_utterances)).astype(np.float32) for episode in episodes
    ]
    origin = Origin("key", "m", "r", {}, {"trained": 1}, {}, "cpu", 1, {"torch": "2"}, None)
    answers = [EpisodeAnswer(row, 0.1, 0.2) for row in rows]
    ids = [episode.episode_id for episode in episodes]
    predictions = Predictions(origin, toy_episodes.emotions, ids, answers)
    predictions.save(tmp_path / "a.parquet", toy_episodes, episodes)
    (tmp_path / "a.parquet").write_bytes(data.draw(corrupted((tmp_path / "a.parquet").read_bytes())))
    with untouched(tmp_path):
        loaded = result_or_error(lambda: Predictions.load(tmp_path / "a.parquet"))
    if loaded is not None:
        for answer, row in zip(loaded.answers, rows, strict=True):
            np.testing.assert_array_equal(answer.probabilities, row)


def test_a_loaded_corpus_gives_the_same_episodes(toy_corpus: Corpus, toy_episodes: EpisodeFile):
    """The arrays behind `annotations` say the same as the saved table."""
    tasks = {task.person: task for task in toy_episodes.tasks(toy_corpus, "test")}
    for episode in toy_episodes.episodes:
        drawn = draw_episode(tasks[episode.person], toy_episodes.k, toy_episodes.q, episode.seed)
        assert drawn == episode
