from __future__ import annotations

import numpy as np
import pytest
import torch

from perser.audio import BadAudio
from perser.inference.clips import Waveforms, name_of, waveform_of


def test_samples_of_any_kind_become_a_waveform():
    samples = np.linspace(-1, 1, 7)
    for given in (samples, samples.astype(np.float32), torch.from_numpy(samples).requires_grad_()):
        found = waveform_of(given)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        np.testing.assert_allclose(found, samples, rtol=1e-6)


def test_a_file_is_read(write_clip):
    assert len(waveform_of(str(write_clip("a.wav", 1, 0.2)))) == 3200


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros((2, 100)), r"shape \(2, 100\)"), (np.zeros(0), "shape"), (np.full(9, np.nan), "not finite")],
)
def test_what_is_no_waveform_is_refused(samples, reason):
    with pytest.raises(BadAudio, match=reason):
        waveform_of(samples)


def test_clips_have_names_and_lengths():
    assert [name_of("x/a.wav", 1), name_of(np.zeros(3), 2)] == ["x/a.wav", "clip 2"]
    clips = Waveforms({"a": torch.zeros(8000)})
    assert (clips.utterance_ids, clips.duration("a")) == (["a"], 0.5)
