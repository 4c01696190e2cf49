"""Simulated speakers: how each expresses emotions in speech, and how many people would hear which emotion.

An expression is a point in a space of four axes, AXES, in steps away from the speaker's neutral way of
speaking. Each emotion has a prototype there, each speaker has their own prototypes around these, and each
clip differs from the speaker's prototype by some jitter. The votes for a clip follow from the point that was
really spoken. So they can be learned from the audio, and neighboring emotions overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from perser.corpora.espeak import Delivery

AXES = ("pitch", "pitch range", "rate", "loudness")

PROTOTYPES = {
    "angry": (0.9, 0.6, 1.2, 1.2),
    "disgust": (-0.9, 0.9, -1.3, 0.2),
    "fear": (1.8, -1.0, 1.0, -0.5),
    "happy": (1.4, 1.8, -0.2, 0.5),
    "neutral": (0.0, 0.0, 0.0, 0.0),
    "sad": (-1.1, -1.3, -1.0, -0.8),
}
"""Steps along AXES. Any two differ in more than loudness, which many encoders normalize away."""

_CENTERS = np.array(list(PROTOTYPES.values()))

PITCH_STEP = 20.0
"""In eSpeak's units of pitch, about 6.6 of which make a semitone."""

RANGE_STEP = 24.0
"""In eSpeak's units of pitch range."""

RATE_STEP = float(np.log(1.2))
"""The logarithm of a factor of the speaking rate."""

LOUDNESS_STEP = float(np.log(10 ** (4 / 20)))
"""The logarithm of a factor of the amplitude: four decibels."""

PROTOTYPE_STD = 0.4
"""How far a speaker's prototype of an emotion lies from the common prototype, on each axis."""

INTENSITY = (0.6, 1.1)
"""A speaker's prototypes are scaled by a factor from this range: some people show more than others."""

JITTER_STD = 0.4
"""How far a clip lies from the speaker's prototype, on each axis."""

TEMPERATURE = 2.0
"""Of the votes: an emotion this many squared steps farther away is e times less likely."""

VOICES = (
    *("en-us+f1", "en-us+m1", "en-gb-scotland+f2", "en-gb-scotland+m2", "en-gb-x-rp+f3", "en-gb-x-rp+m3"),
    *("en-us-nyc+f4", "en-us-nyc+m4", "en-029+f5", "en-029+m5", "en-us+linda", "en-us+m6"),
    *("en-gb-x-rp+steph", "en-gb-x-rp+m7", "en-us-nyc+belinda", "en-us-nyc+Andy", "en-029+f2", "en-029+Lee"),
    *("en-us+aunty", "en-us+max", "en-gb-scotland+f4", "en-gb-scotland+adam", "en-us+Alicia", "en-us+Gene"),
)
"""A woman's and a man's voice alternate. If there are more speakers than voices, voices are used again."""

SESSIONS = 4


@dataclass(frozen=True, eq=False)
class Speaker:
    """One simulated speaker: a voice, a neutral way of speaking and a prototype of each emotion."""

    name: str
    session: str
    neutral: Delivery
    prototypes: np.ndarray
    """(num_emotions, num_axes) in the order of PROTOTYPES."""

    def deliver(self, expression: np.ndarray) -> Delivery:
        """Return the delivery nearest to an expression (num_axes,), within eSpeak's integers and limits."""
        pitch, pitch_range, rate, loudness = expression
        own = self.neutral
        return Delivery(
            voice=own.voice,
            pitch=_to_integer(own.pitch + PITCH_STEP * pitch, 0, 99),
            pitch_range=_to_integer(own.pitch_range + RANGE_STEP * pitch_range, 0, 99),
            rate=_to_integer(own.rate * np.exp(RATE_STEP * rate), 80, 450),
            volume=_to_integer(own.volume * np.exp(LOUDNESS_STEP * loudness), 1, 100),
        )

    def expressed(self, delivery: Delivery) -> np.ndarray:
        """Return the expression (num_axes,) that a delivery of this speaker really has: undoes `deliver`."""
        own = self.neutral
        return np.array(
            [
                (delivery.pitch - own.pitch) / PITCH_STEP,
                (delivery.pitch_range - own.pitch_range) / RANGE_STEP,
                np.log(delivery.rate / own.rate) / RATE_STEP,
                np.log(delivery.volume / own.volume) / LOUDNESS_STEP,
            ]
        )


def draw_speaker(index: int, rng: np.random.Generator) -> Speaker:
    """Draw the speaker with this index. A woman and a man who follow each other share a session."""
    neutral = Delivery(
        voice=VOICES[index % len(VOICES)],
        pitch=int(rng.integers(46, 55)),
        pitch_range=int(rng.integers(45, 56)),
        rate=int(rng.integers(155, 171)),
        volume=int(rng.integers(38, 47)),
    )
    deviation = rng.normal(0.0, PROTOTYPE_STD, _CENTERS.shape)
    return Speaker(
        name=f"speaker-{index:02d}",
        session=f"session-{index // 2 % SESSIONS + 1}",
        neutral=neutral,
        prototypes=rng.uniform(*INTENSITY) * _CENTERS + deviation,
    )


def draw_expressions(speaker: Speaker, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` attempts of the speaker at every emotion: (count, num_emotions, num_axes)."""
    return speaker.prototypes + rng.normal(0.0, JITTER_STD, (count, *_CENTERS.shape))


def vote_shares(expressions: np.ndarray) -> np.ndarray:
    """Return the share of people who hear each emotion: (num_clips, num_axes) to (num_clips, num_emotions).

    It is softmax(-squared distance to the emotion's prototype / TEMPERATURE).
    """
    distance = np.square(expressions[:, None, :] - _CENTERS).sum(axis=-1)
    return softmax(-distance / TEMPERATURE, axis=-1)


def _to_integer(value: float, lowest: int, highest: int) -> int:
    return int(np.clip(np.rint(value), lowest, highest))
