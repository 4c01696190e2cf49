"""The page, served with two models without a neural network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perser.demo.simulated_clips import simulated_clips
from perser.inference.recognizer import Recognizer
from perser.web.limits import Limits


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the page stores its files."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def models(fake_models) -> dict[str, Recognizer]:
    return {name: Recognizer(model, name) for name, model in fake_models.items()}


@pytest.fixture(scope="module")
def address(models, folder) -> Iterator[str]:
    pytest.importorskip("gradio")
    pytest.importorskip("espeakng_loader")
    from perser.demo import page
    from perser.demo.serving import serving

    # Cut to what the models without a neural network take.
    short = [replace(clip, waveform=clip.waveform[4000:12_000]) for clip in simulated_clips()]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tempfile.tempdir", str(folder))
        patched.setattr(page, "simulated_clips", lambda: short)
        with serving(models, Limits(seconds=5, megabytes=2), port=0) as served:
            yield served
    assert list(folder.iterdir()) == [], "all files are removed with the page"
