"""Whether something is one recording or several is told by what it is, not by how its type is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from perser.samples import is_single

SAMPLES = np.zeros(1_600, dtype=np.float32)


@pytest.mark.parametrize(
    "recording",
    [
        SAMPLES.astype(">f4"),
        SAMPLES.astype(">i2"),
        np.stack([SAMPLES, SAMPLES], axis=1),
        torch.zeros(1_600, 2),
        [0.1, 0.2],
        pd.DataFrame({"samples": SAMPLES}),
        object(),
    ],
    ids=["big-endian floats", "big-endian int16", "soundfile's stereo", "tensor", "list", "table", "object"],
)
def test_it_is_one_recording(recording):
    assert is_single(recording)


@pytest.mark.parametrize(
    "recordings",
    [
        np.stack([SAMPLES, SAMPLES]),
        torch.zeros(2, 1_600),
        [SAMPLES, SAMPLES],
        np.array([SAMPLES, None], object),
    ],
    ids=["rows of an array", "rows of a tensor", "list", "array of objects"],
)
def test_they_are_several_recordings(recordings):
    assert not is_single(recordings)
