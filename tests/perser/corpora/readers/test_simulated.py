"""The simulated corpus is reproducible, can be learned from the audio, and listeners label it differently."""

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchaudio.transforms import MelSpectrogram

from perser.corpora.readers.simulated import EMOTIONS, draw_clips, draw_share, make_simulated
from perser.errors import UserError

SPEAKERS, SENTENCES, LISTENERS, SHARE = 4, 10, 24, 160
SMALL = {"speakers": 3, "sentences": 1, "listeners": 3, "clips_per_listener": 6, "seed": 5}
ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from perser.corpora.readers.simulated import make_simulated
listing = make_simulated(Path(sys.argv[1]), **json.loads(sys.argv[2]))
print(json.dumps([[a.utterance_id, a.listener, a.emotions] for a in listing.annotations]))
"""


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "audio"
    return make_simulated(out, SPEAKERS, SENTENCES, LISTENERS, SHARE)


@pytest.fixture(scope="module")
def most_voted():
    """Class index of the emotion with most votes, for every clip of `listing` in order."""
    clips = draw_clips(SPEAKERS, SENTENCES, np.random.default_rng(0).spawn(3)[0])
    return np.stack([clip.votes for clip in clips]).argmax(axis=1)


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.wav"))
    }


def test_the_listing_says_that_it_is_simulated(listing):
    assert listing.simulated
    assert listing.name == "simulated-strong"
    assert {a.listener for a in listing.annotations} == {f"sim-{n:03d}" for n in range(LISTENERS)}
    assert any("speech is simulated" in note for note in listing.notes)
    assert any("strong simulated listeners" in note for note in listing.notes)


def test_every_speaker_says_every_sentence_in_every_emotion(listing):
    assert len(listing.utterances) == len({u.utterance_id for u in listing.utterances})
    said = Counter((u.speaker, u.text) for u in listing.utterances)
    assert len(said) == SPEAKERS * SENTENCES
    assert set(said.values()) == {len(EMOTIONS)}
    assert len({u.session for u in listing.utterances}) == 2


def test_clips_are_short_16_khz_mono_16_bit_wavs(listing):
    durations = []
    for utterance in listing.utterances:
        info = soundfile.info(listing.audio_root / utterance.audio)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "WAV", "PCM_16")
        durations.append(info.duration)
    assert 1 < np.mean(durations) < 1.6
    assert min(durations) > 0.5
    assert max(durations) < 2.5


def test_a_listener_hears_an_even_share_of_every_speaker(listing):
    speaker = {u.utterance_id: u.speaker for u in listing.utterances}
    heard = defaultdict(list)
    for annotation in listing.annotations:
        assert set(annotation.emotions) <= set(EMOTIONS.names)
        heard[annotation.listener].append(annotation.utterance_id)
    for utterances in heard.values():
        assert len(utterances) == len(set(utterances)) == SHARE
        assert set(Counter(speaker[u] for u in utterances).values()) == {SHARE // SPEAKERS}
    assert len({frozenset(utterances) for utterances in heard.values()}) == LISTENERS


def test_a_share_is_even_over_speakers_within_one_clip_and_at_most_all_clips():
    counts = Counter((draw_share(30, 3, 11, np.random.default_rng(0)) // 10).tolist())
    assert sorted(counts.values()) == [3, 4, 4]
    np.testing.assert_array_equal(draw_share(30, 3, 99, np.random.default_rng(0)), np.arange(30))


def test_two_processes_make_the_same_corpus_bit_for_bit(tmp_path):
    here = make_simulated(tmp_path / "here", **SMALL)
    other = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path / "there"), json.dumps(SMALL)],
        capture_output=True,
        text=True,
        check=True,
    )
    again = make_simulated(tmp_path / "again", **SMALL)
    assert (
        fingerprint(tmp_path / "here") == fingerprint(tmp_path / "there") == fingerprint(tmp_path / "again")
    )
    assert here.annotations == again.annotations
    rows = [[a.utterance_id, a.listener, list(a.emotions)] for a in here.annotations]
    assert json.loads(other.stdout) == rows


def test_another_seed_makes_another_corpus(tmp_path):
    first = make_simulated(tmp_path / "first", **SMALL)
    second = make_simulated(tmp_path / "second", **{**SMALL, "seed": 6})
    assert not set(fingerprint(tmp_path / "first").values()) & set(fingerprint(tmp_path / "second").values())
    assert first.annotations != second.annotations


def test_adding_speakers_and_sentences_does_not_change_the_first_clips():
    few = {c.utterance: c for c in draw_clips(2, 3, np.random.default_rng(1))}
    more = {c.utterance: c for c in draw_clips(5, 7, np.random.default_rng(1))}
    for utterance, clip in few.items():
        assert more[utterance].delivery == clip.delivery
        np.testing.assert_array_equal(more[utterance].votes, clip.votes)


def test_a_classifier_recognizes_the_emotion_in_unseen_speakers(listing, most_voted):
    """Tested with mel statistics relative to the speaker, and logistic regression."""
    to_mel = MelSpectrogram(16_000, n_fft=400, hop_length=160, n_mels=40)
    features = []
    for utterance in listing.utterances:
        samples, _ = soundfile.read(listing.audio_root / utterance.audio, dtype="float32")
        mel = torch.log(to_mel(torch.from_numpy(samples)) + 1e-6)
        features.append(np.r_[mel.mean(dim=1), mel.std(dim=1), len(samples) / 16_000])
    by_speaker = np.stack(features).reshape(SPEAKERS, -1, len(features[0]))
    by_speaker = (by_speaker - by_speaker.mean(axis=1, keepdims=True)) / by_speaker.std(axis=1, keepdims=True)
    truth = most_voted.reshape(SPEAKERS, -1)
    recalls = []
    for held_out in range(SPEAKERS):
        others = np.arange(SPEAKERS) != held_out
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(np.concatenate(by_speaker[others]), np.concatenate(truth[others]))
        recalls.append(balanced_accuracy_score(truth[held_out], model.predict(by_speaker[held_out])))
    print(f"macro recall on held-out speakers: {np.mean(recalls):.2f}")
    assert 2 / len(EMOTIONS) < np.mean(recalls) < 0.9  # twice chance


def test_listeners_agree_more_than_by_chance_and_much_less_than_always(listing):
    answers = defaultdict(dict)
    for annotation in listing.annotations:
        answers[annotation.listener][annotation.utterance_id] = annotation.emotions
    rng = np.random.default_rng(0)
    agreement, chance = [], []
    for ours, theirs in combinations(answers.values(), 2):
        both = sorted(ours.keys() & theirs.keys())
        shuffled = rng.permutation(both)
        agreement.append(np.mean([ours[u] == theirs[u] for u in both]))
        chance.append(np.mean([ours[u] == theirs[v] for u, v in zip(both, shuffled, strict=True)]))
    print(f"pairwise agreement {np.mean(agreement):.2f}, by chance {np.mean(chance):.2f}")
    assert 1.5 * np.mean(chance) < np.mean(agreement) < 0.6


@pytest.mark.parametrize("wrong", [{"speakers": 0}, {"sentences": 17}, {"listeners": 0}])
def test_impossible_sizes_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match="simulated corpus"):
        make_simulated(tmp_path, **{**SMALL, **wrong})
