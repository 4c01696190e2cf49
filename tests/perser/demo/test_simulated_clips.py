"""The page begins with clips that eSpeak NG speaks."""

from __future__ import annotations

import builtins

import pytest
import torch

from perser.audio import SAMPLE_RATE
from perser.demo.simulated_clips import simulated_clips
from perser.errors import UserError


def test_three_clips_are_spoken_and_are_the_same_every_time():
    pytest.importorskip("espeakng_loader")
    clips, again = simulated_clips(), simulated_clips()
    assert [clip.name for clip in clips] == ["clip A", "clip B", "clip C"]
    assert len({clip.text for clip in clips}) == 3
    for clip, same in zip(clips, again, strict=True):
        assert clip.waveform.dtype == torch.float32
        assert 0.5 * SAMPLE_RATE < len(clip.waveform) < 4 * SAMPLE_RATE
        assert 0.02 < clip.waveform.abs().max() <= 1
        assert torch.equal(clip.waveform, same.waveform)


def test_without_the_synthesizer_the_page_says_why_there_are_none(monkeypatch):
    pytest.importorskip("gradio")
    from perser.demo import page

    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs eSpeak NG"):
        simulated_clips()
    clips, problem = page._clips()
    assert clips == []
    assert "pip install" in problem
