"""Each setting of `Espeak` changes the sound, and a clip depends on nothing else."""

import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from perser.audio import SAMPLE_RATE
from perser.corpora.espeak import Delivery, Espeak
from perser.corpora.simulated_speakers import VOICES
from perser.errors import UserError

TEXT = "The shop sells paper."
PLAIN = Delivery("en-us+f2", pitch=50, pitch_range=50, rate=165, volume=42)


@pytest.fixture(scope="module")
def espeak():
    with Espeak() as synthesizer:
        yield synthesizer


def pitch_track(samples: np.ndarray) -> np.ndarray:
    """Semitones of the voiced frames: the highest autocorrelation peak between 60 and 400 Hz."""
    track = []
    for start in range(0, len(samples) - 800, 160):
        frame = samples[start : start + 800] - samples[start : start + 800].mean()
        correlation = np.correlate(frame, frame, "full")[799:]
        lag = 40 + correlation[40:267].argmax()
        if correlation[lag] > 0.5 * correlation[0] > 0.01:
            track.append(12 * np.log2(SAMPLE_RATE / lag))
    return np.array(track)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def test_a_clip_does_not_depend_on_earlier_clips(espeak):
    first = espeak.say(TEXT, PLAIN)
    espeak.say("Something else.", replace(PLAIN, voice="en-us+m3", pitch=80))
    np.testing.assert_array_equal(espeak.say(TEXT, PLAIN), first)
    with Espeak() as another:
        np.testing.assert_array_equal(another.say(TEXT, PLAIN), first)


@pytest.mark.parametrize("voice", ["en-us+f2", "en-us+m3"])
def test_each_setting_changes_its_property_of_the_sound(espeak, voice):
    def say(**changes):
        return espeak.say(TEXT, replace(PLAIN, voice=voice, **changes))

    assert np.median(pitch_track(say(pitch=75))) > np.median(pitch_track(say(pitch=25))) + 4
    assert np.std(pitch_track(say(pitch_range=85))) > 1.5 * np.std(pitch_track(say(pitch_range=15)))
    assert len(say(rate=130)) > 1.3 * len(say(rate=210))
    assert rms(say(volume=80)) == pytest.approx(2 * rms(say(volume=40)), rel=0.1)


def test_all_voices_exist_differ_and_are_reproducible(espeak):
    def say_all():
        return [espeak.say(TEXT, replace(PLAIN, voice=voice)).tobytes() for voice in VOICES]

    spoken = say_all()
    assert len(set(spoken)) == len(VOICES) >= 12
    time.sleep(1.1)  # eSpeak seeds the breath of some voices with the clock's seconds
    assert say_all() == spoken


def test_an_unknown_voice_is_named(espeak):
    with pytest.raises(UserError, match=r"no voice 'xx\+f2'"):
        espeak.say(TEXT, replace(PLAIN, voice="xx+f2"))
    assert len(espeak.say(TEXT, PLAIN))  # and the next clip is fine


def test_the_error_without_espeak_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install 'perser\[quickstart\]'"):
        Espeak()
