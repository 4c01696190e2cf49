"""How the simulated speakers express emotions, and what most people would hear in it.

An expression is a point in a space of four axes, AXES, in steps away from the speaker's own neutral way of
speaking. Each emotion has a prototype there; each speaker has prototypes of their own around these; each
clip misses the speaker's prototype by some jitter. The votes for a clip follow from where it really ended
up, so they can be learned from the audio, and neighboring emotions overlap.
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
"""eSpeak's pitch units, a little under two semitones."""

RANGE_STEP = 24.0

RATE_STEP = float(np.log(1.2))

LOUDNESS_STEP = float(np.log(10 ** (4 / 20)))
"""Three decibels."""

OWN_WAY_STD = 0.4
"""How far a speaker's prototype of an emotion lies from the common one, on each axis."""

INTENSITY = (0.6, 1.1)
"""A speaker's prototypes are scaled by a factor from here: some people show more than others."""

JITTER_STD = 0.4
"""How far a clip lies from the speaker's prototype, on each axis."""

TEMPERATURE = 2.0
"""Of the votes: squared steps of distance that make an emotion e times less likely."""

VOICES = (
    *("en-us+f1", "en-us+m1", "en-gb-scotland+f2", "en-gb-scotland+m2", "en-gb-x-rp+f3", "en-gb-x-rp+m3"),
    *("en-us-nyc+f4", "en-us-nyc+m4", "en-029+f5", "en-029+m5", "en-us+linda", "en-us+m6"),
    *("en-gb-x-rp+steph", "en-gb-x-rp+m7", "en-us-nyc+belinda", "en-us-nyc+Andy", "en-029+f2", "en-029+Lee"),
    *("en-us+aunty", "en-us+max", "en-gb-scotland+f4", "en-gb-scotland+adam", "en-us+Alicia", "en-us+Gene"),
)
"""Women's and men's voices in turn; with more speakers than voices they come round again."""

SESSIONS = 4


@dataclass(frozen=True, eq=False)
class Speaker:
    """One simulated speaker: a voice, a neutral way of speaking and a way to show each emotion."""

    name: str
    session: str
    neutral: Delivery
    prototypes: np.ndarray
    """(num_emotions, num_axes) in the order of PROTOTYPES."""

    def deliver(self, expression: np.ndarray) -> Delivery:
        """The delivery nearest to an expression (num_axes,), within eSpeak's whole numbers and limits."""
        pitch, pitch_range, rate, loudness = expression
        own = self.neutral
        return Delivery(
            voice=own.voice,
            pitch=_whole(own.pitch + PITCH_STEP * pitch, 0, 99),
            pitch_range=_whole(own.pitch_range + RANGE_STEP * pitch_range, 0, 99),
            rate=_whole(own.rate * np.exp(RATE_STEP * rate), 80, 450),
            volume=_whole(own.volume * np.exp(LOUDNESS_STEP * loudness), 1, 100),
        )

    def expressed(self, delivery: Delivery) -> np.ndarray:
        """The expression (num_axes,) that a delivery of this speaker really has; undoes `deliver`."""
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
    """The speaker with this index. A session has a share of the pairs of a woman and a man."""
    neutral = Delivery(
        voice=VOICES[index % len(VOICES)],
        pitch=int(rng.integers(46, 55)),
        pitch_range=int(rng.integers(45, 56)),
        rate=int(rng.integers(155, 171)),
        volume=int(rng.integers(38, 47)),
    )
    own_way = rng.normal(0.0, OWN_WAY_STD, _CENTERS.shape)
    return Speaker(
        name=f"speaker-{index:02d}",
        session=f"session-{index // 2 % SESSIONS + 1}",
        neutral=neutral,
        prototypes=rng.uniform(*INTENSITY) * _CENTERS + own_way,
    )


def draw_expressions(speaker: Speaker, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` attempts of the speaker at every emotion: (count, num_emotions, num_axes)."""
    return speaker.prototypes + rng.normal(0.0, JITTER_STD, (count, *_CENTERS.shape))


def vote_shares(expressions: np.ndarray) -> np.ndarray:
    """The share of people who hear each emotion: (num_clips, num_axes) to (num_clips, num_emotions),
    softmax(-squared distance to the emotion's prototype / TEMPERATURE)."""
    distance = np.square(expressions[:, None, :] - _CENTERS).sum(axis=-1)
    return softmax(-distance / TEMPERATURE, axis=-1)


def _whole(value: float, lowest: int, highest: int) -> int:
    return int(np.clip(np.rint(value), lowest, highest))
