"""Clips that can be tried without a recording: simulated speech, made when the page is started."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from perser.corpora.espeak import Espeak
from perser.corpora.readers.simulated import SENTENCES
from perser.corpora.simulated_speakers import draw_expressions, draw_speaker

SEED = 7
"""Not that of the quickstart's corpus: its models have not heard these voices' ways of speaking."""


@dataclass(frozen=True, eq=False)
class SimulatedClip:
    """A clip that eSpeak NG has spoken.

    Args:
        name: What the page calls it.
        text: What is said.
        waveform: Samples (num_samples,) at 16 kHz.
    """

    name: str
    text: str
    waveform: Tensor


def simulated_clips(count: int = 3) -> list[SimulatedClip]:
    """Return clips of different voices, each in another emotion: the quickstart's synthesizer speaks them.

    They are the same every time. Raises UserError where eSpeak NG is not installed.
    """
    rng = np.random.default_rng(SEED)
    clips = []
    with Espeak() as espeak:
        for index, text in enumerate(rng.permutation(SENTENCES)[:count]):
            speaker = draw_speaker(index, rng)
            (expressions,) = draw_expressions(speaker, 1, rng)
            samples = espeak.say(str(text), speaker.deliver(expressions[3 - index]))
            waveform = torch.from_numpy(samples.astype(np.float32))
            clips.append(SimulatedClip(f"clip {chr(ord('A') + index)}", str(text), waveform))
    return clips
